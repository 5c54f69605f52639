// The confidence sphere of a report: cells of directions around the object, turned by dragging or by the arrow keys.
"use strict";
(() => {
  const SIZE = 400, RADIUS = 165, SPLIT = 4, SVG = "http://www.w3.org/2000/svg";
  const source = document.getElementById("survey");
  if (!source) return;
  const found = JSON.parse(source.textContent), box = document.querySelector(".sphere");
  const state = { texture: found.textures.length - 1, model: 0, light: 0, azimuth: -60, elevation: 25 };

  function element(parent, name, attributes) {
    const made = document.createElementNS(SVG, name);
    for (const key in attributes) made.setAttribute(key, attributes[key]);
    parent.appendChild(made);
    return made;
  }

  function edges(centers, whole) {
    const width = centers.length > 1 ? centers[1] - centers[0] : whole;
    return [...centers, centers[centers.length - 1] + width].map((value) => value - width / 2);
  }

  // Right, up and towards whoever looks, of a direction in degrees.
  function seen(azimuth, elevation) {
    const a = ((azimuth - state.azimuth) * Math.PI) / 180, e = (elevation * Math.PI) / 180;
    const t = (state.elevation * Math.PI) / 180;
    const right = Math.cos(e) * Math.sin(a), near = Math.cos(e) * Math.cos(a), up = Math.sin(e);
    return [right, up * Math.cos(t) - near * Math.sin(t), near * Math.cos(t) + up * Math.sin(t)];
  }

  function place(azimuth, elevation, radius) {
    const [x, y, z] = seen(azimuth, elevation);
    return [SIZE / 2 + radius * x, SIZE / 2 - radius * y, z];
  }

  function mixed(from, to, share) {
    return `rgb(${from.map((value, index) => Math.round(value + (to[index] - value) * share)).join(" ")})`;
  }

  // As in the maps: green where top-1 is right, the darker the surer; red where it is wrong, the darker the less sure.
  function color(sure, right) {
    return right ? mixed([227, 243, 230], [27, 120, 55], sure) : mixed([178, 24, 43], [251, 227, 223], sure);
  }

  const ball = element(box.querySelector(".stage"), "svg", {
    class: "ball", viewBox: `0 0 ${SIZE} ${SIZE}`, role: "group", "aria-label": "Confidence by direction; drag to turn",
  });
  const across = edges(found.azimuths, 360), along = edges(found.elevations, 10);
  const cells = [];
  found.elevations.forEach((elevation, row) => found.azimuths.forEach((azimuth, column) => {
    const path = element(ball, "path", { tabindex: 0, role: "img" });
    for (const event of ["mouseenter", "focus"]) path.addEventListener(event, () => tell(row, column));
    cells.push({ path, row, column });
  }));
  const disc = element(ball, "circle", { class: "disc", cx: SIZE / 2, cy: SIZE / 2, r: RADIUS });
  const names = [[0, "+X"], [90, "+Y"], [180, "−X"], [270, "−Y (front)"]].map(([azimuth, name]) => {
    const text = element(ball, "text", {});
    text.textContent = name;
    return { azimuth, text };
  });

  const at = (values, row, column) => values[state.texture][state.model][state.light][row][column];

  function words(row, column) {
    const top1 = at(found.top1, row, column), right = found.target.includes(top1);
    return {
      right, sure: at(found.confidence, row, column), label: found.labels[top1] ?? `class ${top1}`,
      where: `azimuth ${found.azimuths[column]}°, elevation ${Math.round(found.elevations[row])}°`,
    };
  }

  function tell(row, column) {
    const { right, sure, label, where } = words(row, column), said = box.querySelector(".said");
    said.replaceChildren();
    const big = document.createElement("b"), rest = document.createElement("span");
    big.textContent = sure.toFixed(3);
    big.className = right ? "good" : "poor";
    rest.textContent = ` from ${where}: seen as ${label}${right ? "" : " (wrong)"}`;
    said.append(big, rest);
  }

  function outline({ row, column }) {
    const [left, right, low, high] = [across[column], across[column + 1], along[row], along[row + 1]];
    const points = [];
    for (let step = 0; step <= SPLIT; step++) points.push([left + ((right - left) * step) / SPLIT, low]);
    for (let step = 0; step <= SPLIT; step++) points.push([right - ((right - left) * step) / SPLIT, high]);
    return points.map(([azimuth, elevation]) => place(azimuth, Math.max(-90, Math.min(90, elevation)), RADIUS));
  }

  function turn() {
    for (const cell of cells) {
      cell.depth = seen(found.azimuths[cell.column], found.elevations[cell.row])[2];
      cell.path.setAttribute("d", `M${outline(cell).map(([x, y]) => `${x.toFixed(1)} ${y.toFixed(1)}`).join("L")}Z`);
      cell.path.classList.toggle("far", cell.depth < 0);
    }
    // What is nearer is drawn later. Moving an element takes the focus from it, so only where the order is wrong.
    const sorted = [...cells].sort((one, other) => one.depth - other.depth);
    const kept = document.activeElement;
    sorted.forEach(({ path }) => ball.insertBefore(path, disc));
    if (kept && ball.contains(kept)) kept.focus();
    for (const { azimuth, text } of names) {
      const [x, y, z] = place(azimuth, 0, RADIUS + 22);
      text.setAttribute("x", Math.max(30, Math.min(SIZE - 30, x)));
      text.setAttribute("y", y);
      text.setAttribute("opacity", z < 0 ? 0.45 : 1);
    }
  }

  function paint() {
    let sum = 0, hits = 0, worst = null;
    for (const { path, row, column } of cells) {
      const { right, sure, label, where } = words(row, column);
      path.setAttribute("fill", color(sure, right));
      path.setAttribute("aria-label", `${where}: ${sure.toFixed(3)}, ${label}`);
      sum += sure;
      hits += right;
      if (worst === null || sure < worst.sure) worst = { sure, where };
    }
    box.querySelector(".sum").textContent = `All directions: mean ${(sum / cells.length).toFixed(3)}, recognised from `
      + `${Math.round((100 * hits) / cells.length)} %; least from ${worst.where}: ${worst.sure.toFixed(3)}`;
    box.querySelectorAll("button").forEach((button) => {
      button.setAttribute("aria-pressed", String(Number(button.value) === state.texture));
    });
  }

  const row = box.querySelector(".controls-row");
  found.textures.forEach((name, index) => {
    const button = document.createElement("button");
    button.type = "button";
    button.value = String(index);
    button.textContent = name;
    button.addEventListener("click", () => { state.texture = index; paint(); });
    row.append(button);
  });
  for (const [key, names, label] of [["model", found.models, "Classifier"], ["light", found.lights, "Light"]]) {
    const select = document.createElement("select");
    select.setAttribute("aria-label", label);
    names.forEach((name, index) => select.append(new Option(name, String(index))));
    select.addEventListener("change", () => { state[key] = Number(select.value); paint(); });
    row.append(select);
  }

  function turned(right, up) {
    state.azimuth -= right;
    state.elevation = Math.max(-90, Math.min(90, state.elevation + up));
    turn();
  }
  let held = null;
  ball.addEventListener("pointerdown", (event) => { held = [event.clientX, event.clientY]; });
  window.addEventListener("pointerup", () => { held = null; });
  window.addEventListener("pointermove", (event) => {
    if (!held) return;
    turned((event.clientX - held[0]) * 0.5, (event.clientY - held[1]) * 0.5);
    held = [event.clientX, event.clientY];
  });
  ball.addEventListener("keydown", (event) => {
    const way = { ArrowLeft: [-10, 0], ArrowRight: [10, 0], ArrowUp: [0, -10], ArrowDown: [0, 10] }[event.key];
    if (!way) return;
    event.preventDefault();
    turned(...way);
  });

  box.hidden = false;
  box.parentElement.classList.add("live");
  turn();
  paint();
})();
