// The list of deliveries reads itself again while something is about to be sent: what is open stays open.

let open = [];

document.addEventListener("htmx:beforeSwap", () => (open = [...document.querySelectorAll("#deliveries details[open]")].map((each) => each.id)));
document.addEventListener("htmx:afterSettle", () => open.forEach((id) => document.getElementById(id)?.setAttribute("open", "")));
