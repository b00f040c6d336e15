"use strict";
// The page's script: the picked combination, the table's order, filters and metric, the link to a view, light and dark,
// where explanations open, and the data as files. Without it the page is complete, but static.
(() => {
  const root = document.documentElement;
  const read = (id) => document.getElementById(id);
  const data = JSON.parse(read("data").textContent);
  const body = read("rows"), rows = [...body.rows], heads = [...read("explorer").tHead.rows[0].cells];
  const marked = [...document.querySelectorAll("[data-combination]")];
  const everything = () => ({ filters: {}, metric: data.metrics[0][0], sort: "", reference: "" });
  const view = everything();
  const PLOT = { width: 76, height: 14, margin: 5 };
  root.classList.add("scripted");

  // Light and dark: the system's preference, or the reader's.
  const theme = read("theme"), system = matchMedia("(prefers-color-scheme: dark)");
  const dark = () => (root.dataset.theme || (system.matches ? "dark" : "light")) === "dark";
  const remember = (value) => { try { localStorage.setItem("initbench-theme", value); } catch { /* storage is blocked */ } };
  const named = () => { theme.textContent = dark() ? "Light mode" : "Dark mode"; };
  try { root.dataset.theme = localStorage.getItem("initbench-theme") || ""; } catch { root.dataset.theme = ""; }
  theme.addEventListener("click", () => { root.dataset.theme = dark() ? "light" : "dark"; remember(root.dataset.theme); named(); });
  system.addEventListener("change", named);
  named();

  // Where an explanation opens: below the button that was pressed, or above it where there is no room below.
  let openedAt = 0;
  for (const term of document.querySelectorAll(".term")) {
    term.addEventListener("beforetoggle", () => { openedAt = scrollY; });
    term.addEventListener("toggle", (event) => {
      const button = document.activeElement?.closest?.(".tip");
      if (event.newState !== "open" || !button) return;
      const at = button.getBoundingClientRect(), box = term.getBoundingClientRect(), room = document.documentElement;
      const left = Math.max(8, Math.min(at.left, room.clientWidth - box.width - 8));
      const below = at.bottom + 6 + box.height < room.clientHeight || at.top < box.height + 6;
      Object.assign(term.style, { position: "fixed", inset: "auto", margin: 0, left: `${left}px`, top: `${below ? at.bottom + 6 : at.top - box.height - 6}px` });
    });
  }
  addEventListener("scroll", () => {
    if (Math.abs(scrollY - openedAt) > 60) for (const term of document.querySelectorAll(".term:popover-open")) term.hidePopover();
  }, { passive: true });

  // The section that is read is marked in the list of sections; on a phone a choice closes it.
  const links = [...document.querySelectorAll("#sections a")];
  const reading = new IntersectionObserver((entries) => {
    for (const entry of entries) if (entry.isIntersecting) {
      for (const link of links) link.hash === `#${entry.target.id}` ? link.setAttribute("aria-current", "true") : link.removeAttribute("aria-current");
    }
  }, { rootMargin: "-20% 0px -70% 0px" });
  for (const section of document.querySelectorAll("main > section")) reading.observe(section);
  for (const link of links) link.addEventListener("click", () => { if (read("sections").matches(":popover-open")) read("sections").hidePopover(); });

  // The controls. Those of a setting stand in the answer too.
  const control = (label, name, options) => {
    const wrapper = document.createElement("div"), title = document.createElement("label"), select = document.createElement("select");
    title.textContent = label;
    title.htmlFor = select.id = `choose-${name}`;
    wrapper.append(title, select);
    select.dataset.setting = name;
    for (const [value, text] of options) select.append(new Option(text, value));
    read("controls").append(wrapper);
    return select;
  };
  const unique = (values) => [...new Set(values)];
  const all = (values) => [["", "all"], ...values.map((value) => [value, value])];
  const filters = [...document.querySelectorAll(".picker select")];
  data.settings.forEach((setting, i) => {
    const values = unique(data.combinations.map((combination) => combination[i]));
    if (values.length > 1) filters.push(control(data.labels[i], setting, all(values)));
  });
  if (data.initializers.length > 1) filters.push(control("Initializer", "initializer", all(data.initializers)));
  const metric = control("Metric", "metric", data.metrics);
  const others = data.pairs.length ? data.initializers : [];
  const reference = others.length ? control("Compare with", "reference", [["", "the leader"], ...others.map((name) => [name, name])]) : null;

  // How far a row is behind the selected reference, as text and number; null: the reference is the leader.
  const behind = (i) => {
    if (!view.reference) return null;
    const { combination, initializer } = data.rows[i], other = data.initializers.indexOf(view.reference);
    return initializer === other ? ["–", 0] : data.pairs[combination][initializer][other] || ["–", null];
  };

  // What a row is sorted by, for the key of each heading.
  const number = () => data.metrics.findIndex(([name]) => name === view.metric);
  const key = (name, i) => {
    const { combination, initializer, keys, metrics } = data.rows[i], cells = metrics[number()];
    if (name === "behind" && view.reference) return behind(i)[1];
    return { combination, initializer: data.initializers[initializer], metric: cells[1], ...keys }[name];
  };
  const compare = (a, b) => isNaN(a) || isNaN(b) ? a.localeCompare(b, "en", { numeric: true }) : a - b;
  const sortable = heads.filter((head) => head.dataset.key);
  for (const head of sortable) {
    const button = document.createElement("button"), { key: name } = head.dataset;
    button.type = "button";
    button.append(head.firstElementChild);
    head.prepend(button);
    button.addEventListener("click", () => {
      const [now, order] = view.sort.split(".");
      view.sort = now !== name ? `${name}.up` : order === "up" ? `${name}.down` : "";
      show(true);
    });
  }

  const shape = (name, attributes) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [attribute, value] of Object.entries(attributes)) element.setAttribute(attribute, value);
    return element;
  };
  const plot = (cell, values, low, high, colour) => {
    const [mean, from, to] = values, { width, height, margin } = PLOT;
    cell.replaceChildren();
    if (mean === null) return;
    const x = (value) => margin + (width - 2 * margin) * (high > low ? (value - low) / (high - low) : 0.5);
    const drawn = shape("svg", { width, height, viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" });
    const middle = height / 2, style = `stroke: ${colour}; fill: ${colour}`;
    drawn.append(shape("line", { x1: 0, x2: width, y1: middle, y2: middle, style: "stroke: var(--line)" }));
    if (from !== null) {
      drawn.append(shape("line", { x1: x(from), x2: x(to), y1: middle, y2: middle, "stroke-width": 3, style }));
    }
    drawn.append(shape("circle", { cx: x(mean), cy: middle, r: 3.5, style }));
    cell.append(drawn);
  };

  const titled = (id, text) => { read(id).querySelector("button > span").textContent = text; };
  const field = (row, name) => row.querySelector(`[data-field="${name}"]`);

  // The answer: the card of the only combination that is picked, else the table of those that match.
  const matches = (card) => data.first_settings.every((setting, s) => !view.filters[setting] || data.cards[card][s] === view.filters[setting]);
  const picked = () => {
    const cards = data.cards.map((_, i) => i).filter(matches);
    return cards.length === 1 ? cards[0] : null;
  };
  const pick = () => {
    const only = picked(), table = read("all");
    for (const element of document.querySelectorAll("[data-card]")) element.hidden = !matches(+element.dataset.card);
    for (const card of document.querySelectorAll("article[data-card]")) card.classList.toggle("picked", +card.dataset.card === only);
    if (!table) return;
    const narrowed = data.first_settings.some((setting) => view.filters[setting]);
    read("general").hidden = narrowed; // it is about all combinations
    for (const element of [table, read("next")]) if (element) element.hidden = only !== null;
    read("any").hidden = !narrowed;
  };
  // Long lists show their beginning, until a button shows all or a filter is set.
  for (const button of document.querySelectorAll(".expand")) button.addEventListener("click", () => {
    button.parentElement.previousElementSibling.classList.add("whole");
    (button.parentElement.previousElementSibling.querySelector(".expands") || button).classList.add("whole");
    button.hidden = true;
  });
  read("any")?.addEventListener("click", () => { for (const setting of data.first_settings) delete view.filters[setting]; show(true); });
  for (const link of document.querySelectorAll("#all a")) link.addEventListener("click", (event) => {
    event.preventDefault();
    data.first_settings.forEach((setting, s) => { view.filters[setting] = data.cards[+link.hash.slice(6)][s]; });
    show(true);
    document.querySelector(".card.picked").scrollIntoView({ block: "nearest" });
  });

  const chosen = (i) => data.settings.every((setting, s) => !view.filters[setting] || data.combinations[i][s] === view.filters[setting]);
  const show = (store) => {
    const shown = data.combinations.map((_, i) => chosen(i));
    for (const element of marked) element.hidden = !element.dataset.combination.split(" ").some((i) => shown[i]);
    for (const text of document.querySelectorAll(".lacking")) text.hidden = marked.some((element) => !element.hidden && element.tagName === "FIGURE");
    pick();
    root.classList.toggle("filtered", Boolean(view.sort) || Object.values(view.filters).some(Boolean));
    const only = view.filters.initializer;
    const visible = rows.map((_, i) => shown[data.rows[i].combination] && (!only || data.initializers[data.rows[i].initializer] === only));
    const which = number(), numbers = [];
    rows.forEach((row, i) => {
      row.hidden = !visible[i];
      if (visible[i]) numbers.push(...data.rows[i].metrics[which].slice(1, 4).filter((value) => value !== null));
    });
    const low = Math.min(...numbers), high = Math.max(...numbers);
    rows.forEach((row, i) => {
      const cells = data.rows[i].metrics[which], trained = field(row, "trained"), difference = field(row, "behind");
      const [mean, dagger] = field(row, "metric").children;
      mean.textContent = cells[0];
      if (dagger) dagger.hidden = which > 0; // it is about test accuracy
      const [value, interval = ""] = (view.reference ? behind(i)[0] : difference.dataset.leader).split(/ (?=\()/);
      [difference.children[0].textContent, difference.children[1].textContent] = [value, interval];
      if (trained) trained.textContent = cells[4];
      if (visible[i]) plot(row.querySelector(".plot"), cells.slice(1, 4), low, high, `var(--c${data.rows[i].initializer})`);
    });
    titled("metric-head", data.metrics[which][1]);
    titled("behind-head", `Behind ${view.reference || "the leader"}, points`);
    const [column, order] = view.sort.split(".");
    const indices = rows.map((_, i) => i);
    if (view.sort) {
      indices.sort((a, b) => {
        const [left, right] = [key(column, a), key(column, b)];
        if (left === null || right === null) return (left === null) - (right === null); // nothing comes last
        return (order === "up" ? 1 : -1) * compare(left, right) || a - b;
      });
    }
    body.append(...indices.map((i) => rows[i]));
    read("explorer").toggleAttribute("data-sorted", Boolean(view.sort));
    const sorted = sortable.find((head) => head.dataset.key === column);
    for (const head of sortable) head.removeAttribute("aria-sort");
    sorted?.setAttribute("aria-sort", order === "up" ? "ascending" : "descending");
    for (const select of filters) select.value = view.filters[select.dataset.setting] || "";
    metric.value = view.metric;
    if (reference) reference.value = view.reference;
    const some = visible.filter(Boolean).length;
    read("shown").textContent = `${some} of ${rows.length} rows` + (sorted ? `, by ${sorted.firstChild.textContent.trim().toLowerCase()}` : "");
    const parameters = new URLSearchParams();
    for (const [name, value] of Object.entries(view.filters)) if (value) parameters.set(name, value);
    if (which) parameters.set("metric", view.metric);
    if (view.reference) parameters.set("reference", view.reference);
    if (view.sort) parameters.set("sort", view.sort);
    const address = "#" + (parameters.toString() ? "view?" + parameters : "numbers");
    read("link").href = address;
    if (store) history.replaceState(null, "", address);
  };

  const restore = () => {
    const [prefix, query] = [location.hash.slice(0, 6), location.hash.slice(6)];
    if (prefix !== "#view?") return;
    const parameters = new URLSearchParams(query);
    view.filters = {};
    for (const select of filters) {
      const value = parameters.get(select.dataset.setting);
      if (value && [...select.options].some((option) => option.value === value)) view.filters[select.dataset.setting] = value;
    }
    const wanted = parameters.get("metric");
    view.metric = data.metrics.some(([name]) => name === wanted) ? wanted : data.metrics[0][0];
    view.reference = others.includes(parameters.get("reference")) ? parameters.get("reference") : "";
    const sort = /^([a-z0-9-]+)\.(up|down)$/.exec(parameters.get("sort") || "");
    view.sort = sort && sortable.some((head) => head.dataset.key === sort[1]) ? sort[0] : "";
    show(false);
    read(picked() === null || view.sort || parameters.has("metric") || parameters.has("reference") ? "numbers" : "answer").scrollIntoView();
  };

  for (const select of filters) select.addEventListener("change", () => { view.filters[select.dataset.setting] = select.value; show(true); });
  metric.addEventListener("change", () => { view.metric = metric.value; show(true); });
  if (reference) reference.addEventListener("change", () => { view.reference = reference.value; show(true); });
  read("reset").addEventListener("click", () => { Object.assign(view, everything()); show(true); });
  addEventListener("hashchange", restore);
  show(false);
  restore();

  // The table comes compressed; a click on CSV decompresses it.
  const csv = read("csv");
  if (csv && "DecompressionStream" in window) {
    const packed = Uint8Array.from(atob(csv.href.split(",")[1]), (letter) => letter.charCodeAt(0));
    csv.addEventListener("click", async (event) => {
      event.preventDefault();
      const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
      const file = await new Response(stream).blob();
      const link = document.createElement("a");
      link.href = URL.createObjectURL(new Blob([file], { type: "text/csv" }));
      link.download = csv.dataset.name;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 10000);
    });
    csv.textContent = csv.dataset.label;
  }
})();
