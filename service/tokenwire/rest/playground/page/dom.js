// Makes elements. Text only ever becomes text nodes.

/** An element with attributes (false and null leave one out), listeners (`onclick`) and children. */
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

export function button(label, onclick, attributes = {}) {
  return element("button", { type: "button", onclick, ...attributes }, label);
}

export const byId = (id) => document.getElementById(id);

/** A row of choices of which one is taken; calls `onTake` with its index. */
export function choiceRow(row, labels, taken, onTake) {
  const name = `row-${Math.random().toString(36).slice(2)}`;
  const options = labels.map((label, index) =>
    element(
      "label",
      {},
      element("input", { type: "radio", name, checked: index === taken, onchange: () => onTake(index) }),
      element("span", {}, label),
    ),
  );
  row.replaceChildren(...options);
}
