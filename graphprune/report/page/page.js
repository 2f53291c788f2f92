  // the network
  const layers = data.layers;
  const groups = new Map(data.groups.map((group) => [group.name, group]));
  const readers = new Map(); // tensor → numbers of the layers that read it
  layers.forEach((layer) => layer.tensors.forEach((name) => readers.set(name, [...(readers.get(name) || []), layer.id])));
  const order = ["produces", "carries", "consumes", "passes"];
  const rolesOf = (name) => Object.fromEntries(layers.filter((layer) => layer.roles[name]).map((layer) => [layer.id, layer.roles[name]]));
  const groupsOf = (id) => {
    const roles = Object.entries(layers[id].roles);
    const rank = ([name, role]) => order.indexOf(role) - groups.get(name).size / 1e9; // the widest first
    return roles.sort((one, other) => rank(one) - rank(other));
  };
  const mainGroup = (id) => (groupsOf(id)[0] || [""])[0];

  data.specs.network.layer.at(-1).mark.limit = data.column - 8;
  const picture = { ...data.specs.network, width: data.width, height: data.height };
  picture.encoding.x.scale = { domain: [0, data.width], nice: false };
  picture.encoding.y.scale = { domain: [0, data.height], nice: false, reverse: true };
  const view = await draw("picture", picture, { bars: data.bars, lines: data.lines });
  const room = data.column - 20; // that the widest bar in view fills
  const svg = find("picture").querySelector("svg");
  const marks = new Map();
  for (const element of svg.querySelectorAll("g.bars_marks > path")) marks.set(element.__data__.datum.id, element);
  const shown = [...marks.keys()].sort((a, b) => a - b);
  const picked = { layer: -1, group: "" };
  for (const [id, element] of marks) {
    element.dataset.layer = layers[id].name;
    element.dataset.number = id;
    element.setAttribute("tabindex", "-1");
    element.setAttribute("role", "button");
    element.addEventListener("focus", () => choose(id));
  }
  // one stop of the tab key: the layer that was chosen last
  const stopAt = (id) => {
    for (const element of svg.querySelectorAll('[tabindex="0"]')) element.setAttribute("tabindex", "-1");
    marks.get(id)?.setAttribute("tabindex", "0");
  };
  stopAt(shown[0]);

  const light = (layer, group) => view.signal("picked", { layer, group, roles: group ? rolesOf(group) : {} }).runAsync();
  const choose = (id, group = mainGroup(id)) => {
    if (picked.layer === id && picked.group === group) return;
    Object.assign(picked, { layer: id, group });
    stopAt(id);
    describe(id, group);
    light(id, group);
  };
  const nothing = () => find("details").replaceChildren(make("p", "No layer is chosen.", "soft"));
  const release = () => {
    Object.assign(picked, { layer: -1, group: "" });
    nothing();
    light(-1, "");
  };
  const goTo = (id, focus = true) => {
    choose(id);
    const box = find("scroller").getBoundingClientRect();
    const mark = marks.get(id).getBoundingClientRect();
    find("scroller").scrollBy(mark.left + mark.width / 2 - box.left - box.width / 2, mark.top - box.top - box.height / 3);
    if (focus) marks.get(id).focus({ preventScroll: true });
  };
  const layerButton = (id, text) => {
    const button = make("button", text, "link");
    button.type = "button";
    button.addEventListener("click", () => goTo(id));
    return button;
  };

  const bars = new Map(data.bars.map((bar) => [bar.id, bar]));
  const describe = (id, chosen) => {
    const layer = layers[id];
    const bar = bars.get(id);
    const parts = [make("h3", bar.name), make("p", layer.kind, "soft")];
    const facts = make("dl");
    for (const [name, value] of [["width", bar.widths], ["parameters", bar.params], ["MACs", bar.macs]]) {
      const row = make("div");
      row.append(make("dt", name), make("dd", value));
      facts.append(row);
    }
    for (const [kind, before, after] of data.repaired[layer.name] || []) {
      const row = make("div");
      row.append(make("dt", "repaired"), make("dd", `${kind}, error ${before} → ${after}`));
      facts.append(row);
    }
    parts.push(facts);
    const own = groupsOf(id);
    if (own.length > 1) {
      parts.push(make("h4", "In groups"));
      const list = make("ul");
      for (const [name, role] of own) {
        const item = make("li", undefined, role);
        const button = make("button", name, "link", ...(name === chosen ? ["chosen"] : []));
        button.type = "button";
        button.addEventListener("click", () => choose(id, name));
        item.append(button, make("span", role, "role"));
        list.append(item);
      }
      parts.push(list);
    }
    if (chosen) parts.push(...describeGroup(groups.get(chosen)));
    if (layer.pins.length) {
      parts.push(make("h4", "Pinned"));
      const list = make("ul");
      for (const [tensor, dim, size, reason] of layer.pins) {
        const item = make("li", undefined, "pin");
        item.append(make("span", `${tensor}[${dim}], all ${size}: ${reason}`));
        list.append(item);
      }
      parts.push(list);
    }
    find("details").replaceChildren(...parts);
  };
  const describeGroup = (group) => {
    const each = group.each_of ? ` for each of ${group.each_of}` : "";
    const width = data.shrunk ? `${group.size} → ${group.kept} units${each}` : `${group.size} units${each}`;
    const list = make("ul");
    for (const member of group.members) {
      const item = make("li", undefined, member.role);
      const [id] = readers.get(member.tensor) || [];
      const text = `${member.tensor}[${member.dim}]`;
      item.append(id === undefined ? make("span", text) : layerButton(id, text), make("span", member.role, "role"));
      list.append(item);
    }
    const parts = [make("h4", `Group ${group.name}`), make("p", `${width}, ${group.members.length} members, removed together or not at all`, "soft"), list];
    if (group.units) {
      const units = make("details");
      units.append(make("summary", "Kept units"), make("p", group.units, "soft"));
      parts.push(units);
    }
    return parts;
  };

  const idOf = (item) => item?.datum?.id ?? undefined;
  view.addEventListener("mouseover", (event, item) => {
    const id = idOf(item);
    if (id === undefined) return;
    light(id, mainGroup(id));
    describe(id, mainGroup(id));
  });
  view.addEventListener("mouseout", () => {
    light(picked.layer, picked.group);
    if (picked.layer >= 0) describe(picked.layer, picked.group);
    else nothing();
  });
  view.addEventListener("click", (event, item) => {
    const id = idOf(item);
    if (id === undefined) return;
    choose(id);
    marks.get(id).focus({ preventScroll: true });
  });
  svg.addEventListener("keydown", (event) => {
    const at = shown.indexOf(picked.layer);
    const steps = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1, PageDown: 10, PageUp: -10 };
    let next;
    if (event.key in steps) next = Math.min(Math.max(at + steps[event.key], 0), shown.length - 1);
    else if (event.key === "Home") next = 0;
    else if (event.key === "End") next = shown.length - 1;
    else if (event.key === "Escape") return release();
    else return;
    event.preventDefault();
    goTo(shown[next]);
  });

  // search
  let hits = [];
  let hit = -1;
  const search = find("search");
  search.addEventListener("input", () => {
    const text = search.value.trim().toLowerCase();
    hits = text ? shown.filter((id) => layers[id].name.toLowerCase().includes(text)) : [];
    hit = -1;
    find("matches").textContent = text ? `${hits.length} of ${shown.length}` : "";
    view.signal("found", Object.fromEntries(hits.map((id) => [id, true]))).runAsync();
    if (hits.length) goTo(hits[0], false);
  });
  search.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && hits.length) {
      hit = (hit + (event.shiftKey ? -1 : 1) + hits.length) % hits.length;
      find("matches").textContent = `${hit + 1} of ${hits.length}`;
      goTo(hits[hit], false);
    }
  });

  // zoom, and the scale of the bars: the widest in view fills its column
  const size = { width: +svg.getAttribute("width"), height: +svg.getAttribute("height") };
  const frame = find("scroller");
  let scale = 1;
  let unit = 0;
  const rescale = () => {
    const [left, right] = [frame.scrollLeft, frame.scrollLeft + frame.clientWidth].map((x) => x / scale);
    const [top, bottom] = [frame.scrollTop, frame.scrollTop + frame.clientHeight].map((y) => y / scale);
    const inView = ({ centre, ...bar }) =>
      bar.bottom > top && bar.top < bottom && centre + room / 2 > left && centre - room / 2 < right;
    const widest = Math.max(1, ...data.bars.filter(inView).map((bar) => bar.before));
    if (unit === room / widest) return;
    unit = room / widest;
    view.signal("unit", unit).runAsync();
  };
  let waiting = 0;
  const rescaleSoon = () => {
    clearTimeout(waiting);
    waiting = setTimeout(rescale, 120);
  };
  frame.addEventListener("scroll", rescaleSoon);
  addEventListener("resize", rescaleSoon);
  const zoom = (wanted) => {
    const [across, down] = [(frame.scrollLeft + frame.clientWidth / 2) / scale, (frame.scrollTop + frame.clientHeight / 2) / scale];
    scale = Math.min(Math.max(wanted, 0.02), 4);
    svg.style.width = `${size.width * scale}px`;
    svg.style.height = `${size.height * scale}px`;
    frame.scrollTo(across * scale - frame.clientWidth / 2, down * scale - frame.clientHeight / 2);
    rescaleSoon();
  };
  const fit = () => zoom(Math.min(frame.clientWidth / size.width, frame.clientHeight / size.height));
  find("larger").addEventListener("click", () => zoom(scale * 1.25));
  find("smaller").addEventListener("click", () => zoom(scale / 1.25));
  find("fit").addEventListener("click", fit);
  frame.addEventListener("wheel", (event) => {
    if (!event.ctrlKey) return;
    event.preventDefault();
    zoom(scale * Math.exp(-event.deltaY / 300));
  }, { passive: false });
  zoom(Math.max(Math.min(frame.clientWidth / size.width, 1), 0.85));
  frame.scrollTo(data.bars.length ? data.bars[0].centre * scale - frame.clientWidth / 2 : 0, 0);
  // the costliest layer is chosen at first
  const price = (id, key) => layers[id][key][data.shrunk ? 1 : 0];
  const costliest = (key) => shown.reduce((best, id) => (price(id, key) > price(best, key) ? id : best), shown[0]);
  const first = [costliest("macs"), costliest("params")].find((id) => id !== undefined);
  if (first !== undefined) goTo(first, false);
  rescale();

  for (const button of document.querySelectorAll("[data-group]")) {
    button.addEventListener("click", () => {
      const name = button.dataset.group;
      const roles = rolesOf(name);
      const ids = Object.keys(roles).map(Number);
      const id = ids.find((candidate) => roles[candidate] === "produces") ?? ids[0];
      find("network").scrollIntoView();
      goTo(id);
      choose(id, name);
    });
  }

  // charts
  const toLayer = async (chart) => (await chart).addEventListener("click", (event, item) => {
    const id = idOf(item);
    if (id === undefined || !marks.has(id)) return;
    find("network").scrollIntoView();
    goTo(id);
  });
  for (const key of ["macs", "params"]) {
    const rows = layers.filter((layer) => layer[key][0]);
    const table = rows.map((layer) => ({ id: layer.id, place: layer.id, name: layer.name || layer.kind, before: layer[key][0], after: layer[key][1] }));
    toLayer(draw(key, data.specs.cost, { layers: table }));
  }
  if (find("latency")) {
    const spec = structuredClone(data.specs.cost);
    spec.layer[0].encoding.y.axis.format = "~g"; // of milliseconds no thousandths
    for (const row of spec.encoding.tooltip.slice(1)) row.format = ".3~g";
    toLayer(draw("latency", spec, { layers: data.latency }));
  }
  const scored = data.groups.filter((group) => group.scores);
  if (scored.length) {
    const spread = { ...data.specs.spread, height: 16 * scored.length };
    const letters = find("spread").clientWidth > 700 ? 56 : 28; // of a name; a longer one is cut in the middle
    const head = Math.round(0.4 * letters);
    Object.assign(spread.encoding.y.axis, {
      labelLimit: 7 * letters,
      labelExpr: `length(datum.label) > ${letters} ? slice(datum.label, 0, ${head}) + '…' + slice(datum.label, ${head + 1 - letters}) : datum.label`,
    });
    if (scored.every((group) => group.scores.cut === null)) spread.layer = spread.layer.slice(0, -1);
    const rows = scored.map((group) => {
      const [low, lower, median, upper, high] = group.scores.quantiles;
      return { name: group.name, low, lower, median, upper, high, cut: group.scores.cut };
    });
    if (rows.every((row) => row.low > 0)) spread.encoding.x.scale = { type: "log", nice: false };
    const chart = await draw("spread", spread, { groups: rows });
    const select = find("group");
    select.append(...scored.map((group) => new Option(group.name)));
    const bins = (group) => {
      const { quantiles, removed, kept } = group.scores;
      const edge = (place) => quantiles[0] + ((quantiles[4] - quantiles[0]) * place) / kept.length;
      return ["removed", "kept"].flatMap((fate) =>
        (fate === "kept" ? kept : removed).map((units, place) => ({ from: edge(place), to: edge(place + 1), units, fate })));
    };
    // without a cut a hidden one, since an axis wants data
    const cuts = ({ scores }) => [{ cut: scores.cut ?? scores.quantiles[0], shown: scores.cut !== null }];
    const histogram = await draw("histogram", data.specs.histogram, { bins: bins(scored[0]), cuts: cuts(scored[0]) });
    const show = () => {
      const group = groups.get(select.value);
      histogram.data("bins", bins(group)).data("cuts", cuts(group)).runAsync();
    };
    select.addEventListener("change", show);
    chart.addEventListener("click", (event, item) => {
      if (item && item.datum && groups.has(item.datum.name)) {
        select.value = item.datum.name;
        show();
      }
    });
  }
