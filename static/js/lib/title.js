// The page's title: what the page is, behind the number of approvals that wait.

const COUNTED = /^\(\d+\+?\) /;
let count = COUNTED.exec(document.title)?.[0] ?? "";
let name = document.title.replace(COUNTED, "");

const show = () => {
  if (document.title !== count + name) document.title = count + name;
};

/** setTitle("Plans") -> "Plans · Soorma", or "(2) Plans · Soorma" */
export function setTitle(text) {
  name = `${text} · Soorma`;
  show();
}

/** "3", "99+", or "" for none */
export function setTitleCount(number) {
  count = number ? `(${number}) ` : "";
  show();
}
