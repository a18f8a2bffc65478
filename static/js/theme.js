// Loaded before the first paint, as a classic script, so that a chosen theme never flashes.
(() => {
  const root = document.documentElement;
  const chosen = () => {
    try {
      return localStorage.getItem("theme") || "auto";
    } catch {
      return "auto";
    }
  };
  const show = (theme) => (theme === "auto" ? delete root.dataset.theme : (root.dataset.theme = theme));
  window.soormaTheme = {
    get: chosen,
    set(theme) {
      show(theme);
      try {
        localStorage.setItem("theme", theme);
      } catch {
        // Storage is switched off: the theme holds for this page.
      }
    },
  };
  show(chosen());
})();
