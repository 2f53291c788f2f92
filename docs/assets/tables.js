// A field above every long table, which shows the rows that hold all the words that are typed.
document.addEventListener("DOMContentLoaded", () => {
  const LONG = 25;
  for (const table of document.querySelectorAll("article table")) {
    const rows = [...table.querySelectorAll("tbody tr")];
    if (rows.length < LONG) continue;
    const field = document.createElement("input");
    const count = document.createElement("small");
    field.type = "search";
    field.placeholder = `Search in ${rows.length} rows`;
    field.setAttribute("aria-label", field.placeholder);
    field.style.cssText = "padding:.3rem .5rem;margin:.5rem .5rem 0 0;border:1px solid currentColor;border-radius:.2rem;" +
      "background:transparent;color:inherit;font:inherit;max-width:100%";
    const texts = rows.map((row) => row.textContent.toLowerCase());
    field.addEventListener("input", () => {
      const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
      let shown = 0;
      rows.forEach((row, place) => {
        row.hidden = !words.every((word) => texts[place].includes(word));
        shown += row.hidden ? 0 : 1;
      });
      count.textContent = words.length ? `${shown} of ${rows.length}` : "";
    });
    const place = table.closest(".md-typeset__scrollwrap") || table;
    place.before(field, count);
  }
});
