// Elements of the page. Texts are always text: nothing that anybody wrote is read as HTML.

/** An element with attributes and children; of attributes, false and null are left out. */
export function made(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "on") for (const [event, react] of Object.entries(value)) node.addEventListener(event, react);
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

/** Custom properties of an element, which the style sheet reads. */
export function styled(node, properties) {
  for (const [name, value] of Object.entries(properties)) node.style.setProperty(name, value);
  return node;
}

/** The element of an id. */
export function find(id) {
  return document.getElementById(id);
}
