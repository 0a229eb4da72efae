"use strict";
// Charts in the colours of the page, drawn when they come near.
const dark = matchMedia("(prefers-color-scheme: dark)");
function themed(layout) {
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(name).trim();
  const told = { ...layout, paper_bgcolor: "transparent", plot_bgcolor: "transparent", font: { color: colour("--text"), size: 12 } };
  for (const axis of Object.keys(told).filter((key) => /^[xy]axis/.test(key))) {
    told[axis] = { gridcolor: colour("--line"), linecolor: colour("--line"), zerolinecolor: colour("--line"), ...told[axis] };
  }
  return told;
}
function draw(place) {
  const { data, layout } = JSON.parse(document.getElementById(place.dataset.of).textContent);
  Plotly.react(place, data, themed(layout), { responsive: true, displayModeBar: false });
}
if (typeof Plotly !== "undefined") {
  const places = [...document.querySelectorAll(".plot")];
  const near = new IntersectionObserver((seen) => {
    for (const { target, isIntersecting } of seen) {
      if (isIntersecting) { near.unobserve(target); draw(target); target.dataset.drawn = "yes"; }
    }
  }, { rootMargin: "600px" });
  places.forEach((place) => near.observe(place));
  const again = (all) => places.filter((place) => all || place.dataset.drawn).forEach(draw);
  dark.addEventListener("change", () => again(false));
  addEventListener("beforeprint", () => again(true));
}
// A picture wider than the page begins at its middle, where most of it is.
for (const { parentElement: place } of document.querySelectorAll(".scroll > .graph")) {
  place.scrollLeft = (place.scrollWidth - place.clientWidth) / 2;
}
// Tables that sort by a click on the head of a column: numbers as numbers.
for (const table of document.querySelectorAll("table.sortable")) {
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") !== "ascending";
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const key = (row) => row.cells[column].querySelector("data")?.value ?? row.cells[column].textContent.trim();
      const rows = [...table.tBodies[0].rows].sort((one, other) => {
        const [a, b] = [key(one), key(other)];
        const numbers = a !== "" && b !== "" && !isNaN(a) && !isNaN(b);
        return (numbers ? a - b : a.localeCompare(b, undefined, { numeric: true })) * (up ? 1 : -1);
      });
      table.tBodies[0].append(...rows);
    });
  });
}
