  const data = JSON.parse(document.getElementById("data").textContent);
  const find = (id) => document.getElementById(id);
  const make = (tag, text, ...classes) => {
    const element = document.createElement(tag);
    // long names may break after a dot
    (text || "").split(/(?<=[._/])/).forEach((part, place) => element.append(...(place ? [document.createElement("wbr")] : []), part));
    element.classList.add(...classes);
    return element;
  };

  // light or dark: the system's wish, until the button says otherwise
  const root = document.documentElement;
  const wish = matchMedia("(prefers-color-scheme: dark)");
  const theme = (name) => {
    root.dataset.theme = name;
    find("theme").textContent = name === "dark" ? "Light" : "Dark";
  };
  theme(wish.matches ? "dark" : "light");
  wish.addEventListener("change", () => theme(wish.matches ? "dark" : "light"));
  find("theme").addEventListener("click", () => theme(root.dataset.theme === "dark" ? "light" : "dark"));
  for (const button of document.querySelectorAll("[data-copy]")) {
    button.addEventListener("click", async () => {
      getSelection().selectAllChildren(find(button.dataset.copy));
      document.execCommand("copy");
      button.textContent = "Copied";
    });
  }

  // a table that is wider than its frame says so
  const frames = [...document.querySelectorAll(".scroll")];
  const measure = () => frames.forEach((frame) => frame.classList.toggle("wider", frame.scrollWidth > frame.clientWidth + 1));
  frames.forEach((frame) => {
    const hint = make("p", "", "soft", "hint");
    hint.append(make("span", "Swipe", "touch"), make("span", "Scroll", "mouse"), " the table sideways: it has more columns.");
    frame.after(hint);
  });
  addEventListener("resize", measure);
  measure();

  const draw = async (id, spec, datasets) => {
    const options = { renderer: "svg", actions: false, mode: "vega-lite", config: data.specs.theme };
    return (await vegaEmbed(find(id), { ...spec, datasets }, options)).view;
  };

  // curves
  for (const chart of data.curves) {
    const spec = structuredClone(data.specs[chart.spec]);
    spec.encoding.x.title = chart.x;
    spec.encoding.y.title = chart.y;
    await draw(chart.id, spec, { curves: chart.points });
  }
