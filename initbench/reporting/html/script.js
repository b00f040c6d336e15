"use strict";
// The page's script: the table's order, filters and metric, the permanent link to a view, light and dark, and the data
// as files. Without it the page is complete, but static.
(() => {
  const root = document.documentElement;
  const read = (id) => document.getElementById(id);
  const data = JSON.parse(read("data").textContent);
  const body = read("rows"), rows = [...body.rows], heads = [...read("explorer").tHead.rows[0].cells];
  const marked = [...document.querySelectorAll("[data-combination]")];
  const everything = () => ({ filters: {}, metric: data.metrics[0][0], sort: "", reference: "" });
  const view = everything();
  const PLOT = { width: 96, height: 14, margin: 5 };
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

  // The controls.
  const control = (label, name, options) => {
    const wrapper = document.createElement("div"), title = document.createElement("label"), select = document.createElement("select");
    title.textContent = label;
    title.htmlFor = select.id = `choose-${name}`;
    wrapper.append(title, select);
    select.dataset.name = name;
    for (const [value, text] of options) select.append(new Option(text, value));
    read("controls").append(wrapper);
    return select;
  };
  const unique = (values) => [...new Set(values)];
  const spoken = (setting) => setting.replaceAll("_", " ").replace(/^./, (letter) => letter.toUpperCase());
  const all = (values) => [["", "all"], ...values.map((value) => [value, value])];
  const filters = [];
  data.settings.forEach((setting, i) => {
    const values = unique(data.combinations.map((combination) => combination[i]));
    if (values.length > 1) filters.push(control(spoken(setting), setting, all(values)));
  });
  if (data.initializers.length > 1) filters.push(control("Initializer", "initializer", all(data.initializers)));
  const metric = control("Metric", "metric", data.metrics);
  const others = data.pairs.length ? data.initializers : [];
  const reference = others.length ? control("Compare with", "reference", [["", "the leader"], ...others.map((name) => [name, name])]) : null;

  // How far a row is behind the selected reference, as text and number; null: the reference is the leader.
  const behind = (i) => {
    if (!view.reference) return null;
    const [combination, initializer] = data.rows[i], other = data.initializers.indexOf(view.reference);
    return initializer === other ? ["–", 0] : data.pairs[combination][initializer][other] || ["–", null];
  };

  // What a row is sorted by, for each heading.
  const number = () => data.metrics.findIndex(([name]) => name === view.metric);
  const count = data.settings.length;
  const key = (column, i) => {
    const [combination, initializer, failed, difference, epochs, regret, worse, metrics] = data.rows[i];
    const cells = metrics[number()];
    if (column < count) return numeric[column] ? +data.combinations[combination][column] : orders[column].indexOf(data.combinations[combination][column]);
    return [data.initializers[initializer], cells[1], cells[1], view.reference ? behind(i)[1] : difference, regret, worse, cells[5], failed, epochs][column - count];
  };
  const orders = data.settings.map((_, i) => unique(data.combinations.map((combination) => combination[i])));
  const numeric = orders.map((values) => values.every((value) => value !== "" && !isNaN(value))); // else the grid's order
  const compare = (a, b) => isNaN(a) || isNaN(b) ? a.localeCompare(b, "en", { numeric: true }) : a - b;
  heads.forEach((head, column) => {
    if (head.classList.contains("plot")) return;
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const [now, order] = view.sort.split(".");
      view.sort = now !== String(column) ? `${column}.up` : order === "up" ? `${column}.down` : "";
      show(true);
    });
  });

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

  const titled = (id, text) => { read(id).firstElementChild.textContent = text; };
  const chosen = (i) => data.settings.every((setting, s) => !view.filters[setting] || data.combinations[i][s] === view.filters[setting]);
  const show = (store) => {
    const shown = data.combinations.map((_, i) => chosen(i));
    for (const element of marked) element.hidden = !shown[element.dataset.combination];
    const only = view.filters.initializer;
    const visible = rows.map((_, i) => shown[data.rows[i][0]] && (!only || data.initializers[data.rows[i][1]] === only));
    const which = number(), numbers = [];
    rows.forEach((row, i) => {
      row.hidden = !visible[i];
      if (visible[i]) numbers.push(...data.rows[i].at(-1)[which].slice(1, 4).filter((value) => value !== null));
    });
    const low = Math.min(...numbers), high = Math.max(...numbers);
    rows.forEach((row, i) => {
      const cells = data.rows[i].at(-1)[which], fields = row.cells;
      const [mean, dagger] = fields[count + 2].children;
      mean.textContent = cells[0];
      if (dagger) dagger.hidden = which > 0; // it is about test accuracy
      fields[count + 3].textContent = view.reference ? behind(i)[0] : fields[count + 3].dataset.leader;
      fields[count + 6].textContent = cells[4];
      if (visible[i]) plot(fields[count + 1], cells.slice(1, 4), low, high, `var(--c${data.rows[i][1]})`);
    });
    titled("metric-head", `${data.metrics[which][1]}, all runs`);
    titled("behind-head", `Behind ${view.reference || "the leader"}, points`);
    const [column, order] = view.sort.split(".");
    const indices = rows.map((_, i) => i);
    if (view.sort) {
      indices.sort((a, b) => {
        const [left, right] = [key(+column, a), key(+column, b)];
        if (left === null || right === null) return (left === null) - (right === null); // nothing comes last
        return (order === "up" ? 1 : -1) * compare(left, right) || a - b;
      });
    }
    body.append(...indices.map((i) => rows[i]));
    read("explorer").toggleAttribute("data-sorted", Boolean(view.sort));
    heads.forEach((head, i) => {
      if (view.sort && i === +column) head.setAttribute("aria-sort", order === "up" ? "ascending" : "descending");
      else head.removeAttribute("aria-sort");
    });
    for (const select of filters) select.value = view.filters[select.dataset.name] || "";
    metric.value = view.metric;
    if (reference) reference.value = view.reference;
    const some = visible.filter(Boolean).length;
    read("shown").textContent = `${some} of ${rows.length} rows` + (view.sort ? `, by ${heads[column].textContent.trim().toLowerCase()}` : "");
    const parameters = new URLSearchParams();
    for (const [name, value] of Object.entries(view.filters)) if (value) parameters.set(name, value);
    if (which) parameters.set("metric", view.metric);
    if (view.reference) parameters.set("reference", view.reference);
    if (view.sort) parameters.set("sort", view.sort);
    const address = "#" + (parameters.toString() ? "view?" + parameters : "explore");
    read("link").href = address;
    if (store) history.replaceState(null, "", address);
  };

  const restore = () => {
    const [prefix, query] = [location.hash.slice(0, 6), location.hash.slice(6)];
    if (prefix !== "#view?") return;
    const parameters = new URLSearchParams(query);
    view.filters = {};
    for (const select of filters) {
      const value = parameters.get(select.dataset.name);
      if (value && [...select.options].some((option) => option.value === value)) view.filters[select.dataset.name] = value;
    }
    const wanted = parameters.get("metric");
    view.metric = data.metrics.some(([name]) => name === wanted) ? wanted : data.metrics[0][0];
    view.reference = others.includes(parameters.get("reference")) ? parameters.get("reference") : "";
    const sort = /^(0|[1-9]\d*)\.(up|down)$/.exec(parameters.get("sort") || "");
    view.sort = sort && +sort[1] < heads.length && !heads[sort[1]].classList.contains("plot") ? sort[0] : "";
    show(false);
    read("explore").scrollIntoView();
  };

  for (const select of filters) select.addEventListener("change", () => { view.filters[select.dataset.name] = select.value; show(true); });
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
