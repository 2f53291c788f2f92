"""Plain English about many things: what models of text are calibrated on where there is a tokenizer and no data.

Drawn tokens have no grammar. Heads that follow it lie idle on them, and look as if nobody needed them.
"""

from __future__ import annotations

__all__ = ["SENTENCES"]

#: Every third is as manuals and papers write. They have no order, so that any part is as mixed as the whole.
SENTENCES = """
The bridge across the river was closed for repairs until the end of October.
How long does it take to boil an egg if the water is already hot?
Return the number of days between two dates; the result is negative if the second comes first.
She opened the letter, read it twice, and put it back into the drawer without a word.
Sort the list before you search it, since binary search needs the items in order.
Compute the mean and the variance of the samples in one pass over the data.
Prices for wheat fell by four percent after a good harvest in the northern provinces.
The patient complained of a dull pain behind the left knee and was sent home with tablets.
A reader that yields the rows of a file one after another, so that large files fit in memory.
Turn left at the church, follow the road for two miles, and you will see the mill.
I ordered the blue jacket in a medium, but the sleeves are far too short for me.
Raises an error if the key is missing and no default value has been given.
Light bends when it passes from air into glass because it travels more slowly there.
The council will vote on the new budget next Tuesday at seven in the evening.
The first argument is an array of shape (n, 3), with one row for each point in space.
"You should have told me earlier," said the captain, and he folded the map.
To reset the device, hold the power button for ten seconds and release it.
We propose a method that needs no labels and compare it with four baselines on three datasets.
The goalkeeper saved two penalties, yet the visitors won by three goals to one.
Whales are mammals: they breathe air, keep a constant temperature, and feed milk to their young.
Connects to the server and waits until it answers or the time limit has passed.
My grandmother kept bees behind the barn and sold the honey at the market on Saturdays.
A function that calls itself must have a case in which it stops.
Estimate the parameters of a linear model by the method of least squares.
The hotel was clean and quiet, although breakfast ended much too early for us.
In 1845 the potato crop failed, and within five years a million people had left the island.
The cache holds the most recent entries and drops the oldest one when it is full.
Please find attached the minutes of our last meeting and the plan for March.
The museum is open daily except Mondays; children under twelve enter free of charge.
Draw random numbers from a normal distribution with the given mean and standard deviation.
He tuned the guitar, cleared his throat, and began to sing about a train.
Cut the onions finely, fry them in butter over a low heat, and add the rice.
The results suggest that the effect is larger in young adults than in children.
The company said that it would hire two hundred engineers in the coming year.
What is the difference between weather and climate?
Set this flag to true if the input is already sorted; otherwise it is sorted first.
Snow had fallen all night, and by morning the path to the gate was gone.
The contract may be ended by either party with three months' notice in writing.
Convert a temperature from degrees Celsius to kelvin.
Iron rusts in damp air, while gold stays bright for thousands of years.
Our flight was delayed by six hours because of a strike at the airport.
The algorithm visits every node of the graph once and follows each edge in both directions.
If the test fails, look at the first error, because the others often follow from it.
The old dog slept beside the stove and barked only in his dreams.
Rotate the image by an angle in degrees and fill the corners with the background colour.
Voters in the capital elected a woman as mayor for the first time.
A triangle with sides of three, four and five units has a right angle.
If the weight is not given, all observations count equally.
The actress thanked her parents, her teacher, and everybody who had lent her money.
Do not store this product near open flames or in direct sunlight.
Base class for all shapes; subclasses must define the area and the outline.
Two thirds of the river's water is used for irrigation before it reaches the sea.
"Is anybody there?" she called, but only the clock in the hall answered.
The protocol encrypts every message with a key that both sides derive from a shared secret.
The new phone has a better camera, but its battery lasts no longer than a day.
Bacteria that survive the treatment can become resistant to the drug.
Find the smallest element of each column and the row in which it stands.
Every student must hand in an essay of two thousand words by the first of June.
The painting shows a woman in a yellow dress who is reading by a window.
Samples were kept at four degrees and analysed within two days of collection.
Traffic on the ring road was slow this morning after a lorry lost its load of apples.
I can't remember where I left my keys; have you seen them anywhere?
Returns a copy of the string in which all letters are in lower case.
The earth turns once a day around its axis and once a year around the sun.
The judge found that the evidence had been collected without a warrant.
The filter removes frequencies below the cutoff and leaves those above it unchanged.
Add two spoons of sugar, stir well, and let the dough rest for half an hour.
The orchestra played the slow movement so softly that one could hear the rain.
Warning: this function changes its argument in place and returns nothing.
Many of the workers live in the valley and take the six o'clock bus to the plant.
An index makes reading from the table faster and writing to it slower.
Split the dataset at random into a training part and a test part.
The explorers ran out of food in the third week and ate their boots.
Sales of electric cars doubled in a year, but charging stations remain rare in the country.
The voltage across a resistor is proportional to the current that flows through it.
How do I change the language of the keyboard on this computer?
The child drew a house with four windows, a red door and smoke that rose straight up.
Each thread takes a task from the queue, runs it, and stores the result under its number.
Water expands when it freezes, which is why pipes burst in winter.
The minister resigned on Friday after newspapers had printed his letters.
Apply a smoothing kernel to the signal; the width of the kernel is given in samples.
We walked along the cliffs until the light went, and then we walked back by the stars.
The lease includes heating and water, but electricity is paid by the tenant.
The confidence interval narrows as the number of observations increases.
This knife is light, sharp and well balanced; I would buy it again.
The heart pumps about five litres of blood through the body every minute.
Load the configuration from a file, or use the default settings when there is none.
The train to the north leaves from platform nine at ten minutes past eight.
After the war the town was rebuilt stone by stone from photographs.
A matrix is singular if its determinant is zero, and then it has no inverse.
Copy the file to the server, restart the service, and check the log for warnings.
She speaks Polish with her mother, German with her father, and English with everyone else.
Merge the two tables on the columns that they share and keep rows without a partner.
The committee could not agree on a date, so the conference was put off.
A good rope, a lamp and dry socks are worth more than a heavy tent.
The classifier assigns each pixel to the class with the highest probability.
Researchers measured the sleep of ninety adults who worked at night.
The soup was cold, the waiter was rude, and the bill was wrong.
Write the header, then the records, and finally a checksum of everything before it.
Why do leaves turn red and yellow in autumn?
The ship carried grain to the south and came back with oranges and wine.
Parse a date in the form year, month, day, with hyphens between the numbers.
Interest is paid at the end of each quarter and added to the balance.
He had never learned to swim, and yet he spent his life on boats.
The enzyme binds to its substrate and lowers the energy that the reaction needs.
The temple was built of marble that had been brought from an island far away.
Press the lever down firmly until you hear a click.
Measure the distance between two clusters by the distance of their centres.
Three people were slightly hurt when a tree fell on a tram in the storm.
The program reads a line, splits it at the commas, and counts the words.
Use the second form when the list is long, since it does not copy the items.
Olive trees grow slowly, but they can live for more than a thousand years.
Their second album sold poorly, though critics now call it their best.
The tool prints a table with one line for every module and the time it took to load.
The mayor promised more trees, fewer cars, and a library that stays open on Sundays.
My brother repairs bicycles in a small shop behind the station.
Interpolate missing values linearly between their neighbours along the time axis.
Sound travels about four times as fast in water as it does in air.
The novel follows three sisters who inherit a vineyard and a debt.
The parser stops at the first character that cannot belong to a number.
Could you send me the address again? I seem to have lost your last message.
Rain is expected in the west tonight, with strong winds along the coast.
Approximate the integral by the sum of the areas of narrow trapezoids.
The insurance covers theft and fire but not damage by floods.
He counted the coins on the table and found that one was missing.
Create an empty directory, and all directories above it that do not exist yet.
Vaccines train the immune system to recognise a germ before it can do harm.
The walls were painted white, the floor was of oak, and the ceiling leaked.
The model was trained for ninety epochs with a learning rate that falls to zero.
To multiply two fractions, multiply the numerators and then the denominators.
The players shook hands, although the match had ended in an argument.
Keys are compared by their hash first and by equality only if the hashes agree.
Fishermen on this coast still mend their nets by hand.
The update fixes a fault that made the screen flicker on older laptops.
Select the points that lie inside the polygon, including those on its border.
She had planned to stay for a week, but she remained for eleven years.
The price of a single ticket has risen to three euros and twenty cents.
Resize the window so that the text fits without a scroll bar.
Volcanoes form where plates of the earth's crust drift apart or collide.
The teacher wrote a long word on the board and asked who could spell it.
The gene is active in the liver and silent in nearly all other tissues.
Please wash your hands before you enter the kitchen.
The two banks agreed to merge, and eight hundred jobs will be lost.
Compute the distance transform of a grid, that is, how far each cell is from the nearest obstacle.
An owl sat on the fence post and turned its head as we passed.
The warranty is void if the case has been opened by anyone but a dealer.
The option limits how many connections may be open at the same time.
Her speech was short, funny and honest, and the hall rose to its feet.
When the queue is full, new requests wait until a worker is free.
Subtract the median of each channel to remove the slow drift of the sensor.
The desert is hot by day and bitterly cold at night.
I have been learning the piano for two years, but I still cannot play without looking.
An iterator over all pairs of items whose order does not matter.
The general knew the hills well and let the enemy come to him.
Nitrogen makes up almost four fifths of the air that we breathe.
Detect edges as places where the brightness changes quickly from one pixel to the next.
The shop on the corner sells newspapers, stamps, bread and fishing hooks.
Who wrote the play about the prince who could not make up his mind?
The request failed because the token has expired; log in again to obtain a new one.
The dam holds enough water for the city to drink for eighteen months.
He apologised for the noise and turned the radio down a little.
Encode the categories as integers in the order in which they first occur.
Choose a password that is long, that you can remember, and that nobody could guess.
The bakery opens at five, when the streets are still dark and smell of rain.
Pressure, volume and temperature of a gas are related by a single equation.
Exports of machines and chemicals grew faster than those of food.
The kitten hid under the sofa and would not come out for milk or for fish.
Test whether two samples could come from the same distribution.
In the second experiment the temperature was raised by ten degrees.
The ceremony ended with a song that no one knew by heart.
Deprecated since version two: pass the path as a keyword instead.
The road climbs through pine woods to a lake that is frozen until May.
If two numbers have no common factor, their product is their least common multiple.
The surface is described by triangles, each of which names three vertices.
The seller described the table as new, but one of its legs was cracked.
Doctors advise adults to walk for at least half an hour every day.
Compress the blocks in parallel and write them in their original order.
Smoke rose from the chimney, and somebody inside was laughing.
The court must decide whether the law applies to companies abroad.
Label the connected regions of a mask with consecutive numbers.
Plant the bulbs in autumn, three inches deep, in soil that does not stay wet.
The telescope gathers light from galaxies that no longer look the way we see them.
The histogram counts how many values fall into each of the bins.
They met on a ferry, married in a post office, and opened a cinema.
The engine stalled twice on the hill, and we pushed it the rest of the way.
Release the lock even if the body of the loop raises an exception.
Use a smaller step if the error grows from one iteration to the next.
The tax on fuel was meant for roads, but most of it went elsewhere.
Scale all features to the range from zero to one before fitting.
Penguins cannot fly, yet under water they move as birds do in the air.
A crowd had gathered in the square to hear the results.
The orbit is an ellipse with the star at one of its two foci.
The tailor measured his arms, wrote a number down, and sighed.
This recipe serves four people as a main dish or six as a starter.
Look up the name in the registry and return the class that was stored under it.
Is it cheaper to repair the roof or to build a new one?
Coal was carried by canal until the railway came in the eighteen forties.
Segment the picture into regions of similar colour and texture.
The student asked for more time, and the professor gave her a week.
The museum bought the letters at an auction in Geneva last spring.
Decode the bytes as text, and replace those that are not valid by a question mark.
Keep the receipt: without it we cannot exchange the goods.
The moon was so bright that the trees threw shadows on the snow.
Random forests average many trees, each grown on a different sample of the rows.
Proteins fold into shapes that decide what they do in the cell.
The new stadium seats forty thousand people and has its own station.
The compiler moves computations whose result does not change out of the loop.
"Nobody has ever asked me that before," the old man answered slowly.
The table has one row for every customer and one column for every month.
Validate the schema before the first record is inserted into the database.
The bus was crowded, so she stood by the door and held her hat.
Farmers here grow rice in summer and beans in winter on the same fields.
Plot the residuals against the fitted values to see whether the spread is constant.
The film is half an hour too long, but its last scene is worth the wait.
The pump failed on the third day, and the cellar filled with water.
Transform coordinates from the frame of the camera to that of the world.
Parliament passed the law by a majority of only two votes.
Dry the mushrooms with a cloth; never wash them under running water.
The default of ten iterations is enough for most problems of moderate size.
The river divides into many arms before it meets the sea.
A thief was caught because he stopped to pet the dog.
Remove small objects and fill small holes in the binary image.
Please reply by the end of the week so that we can book the rooms.
The distance between two points is the length of the straight line that joins them.
Each layer multiplies its input by a matrix, adds a vector, and applies a nonlinearity.
The choir practises in the school on Thursdays, and new voices are welcome.
Many stars are older than our sun, and some are nearly as old as the universe.
Check that the two arrays have the same shape and agree within the tolerance.
The carpenter chose a board without knots and planed it until it shone.
Unemployment fell to its lowest level in a decade, the statistics office reported.
The sampling rate must be at least twice the highest frequency in the signal.
Where can I find a map that shows the footpaths near the village?
The screen is bright, the keys are quiet, and the price is fair: five stars.
Group the records by country and report the total of each group.
He had been a sailor, a cook, a clerk, and in the end a poet.
The medicine should be taken with food, twice a day, for no more than a week.
Reduce the number of colours in an image to those of a given palette.
The fire started in the kitchen and spread quickly to the floor above.
The method returns the first match, or nothing if there is none.
Only metadata is read here; the pixels are loaded when they are first used.
The island has no cars; people get about on foot, by bicycle and by donkey.
She won the race by a second and then lay down on the grass.
The gradient of the loss with respect to every weight is found by the chain rule.
The treaty was signed in a railway carriage in a forest clearing.
Salt lowers the freezing point of water, and so it melts ice on the roads.
Estimate how much noise there is from the differences of neighbouring samples.
Our neighbours have a parrot that imitates the doorbell.
The hall was silent while the names of the dead were read aloud.
Serialise the object as a dictionary that contains nothing but numbers, strings and lists.
The article argues that cities grow where rivers can be crossed.
Click on the picture to make it larger, and on the cross to close it.
The index of the maximum is returned; of several equal ones, the first.
The clock struck twelve, although it was only a quarter to ten.
The crew repaired the sail with thread and a needle made of bone.
Deconvolution sharpens an image that was blurred by a known kernel.
Wages have risen, but rents have risen faster.
The forest was home to wolves until the end of the eighteenth century.
Cross validation repeats the split several times and averages the scores.
What would you do if you had only one day in the city?
The lens is made of two kinds of glass that are cemented together.
Compare two versions of a document and list the lines that differ.
The boy let go of the string, and the kite rose above the roofs.
Applicants must hold a driving licence and speak at least two languages.
The electrons in the outer shell decide how an atom forms bonds.
The storm tore the roof off the stable, but the horses were unharmed.
Pad the sequence with zeros until its length is a multiple of the block size.
Project the vectors onto the directions along which they vary most.
""".strip().splitlines()
