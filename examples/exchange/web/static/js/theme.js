// The colour scheme: the system's unless the reader has chosen another. This
// script runs before the page is drawn, so that it never flashes.
(() => {
  const dark = matchMedia('(prefers-color-scheme: dark)');
  const apply = () => {
    let chosen = null;
    try {
      chosen = localStorage.getItem('theme');
    } catch {
      // Storage is switched off: the system's scheme it is.
    }
    document.documentElement.dataset.theme = chosen ?? (dark.matches ? 'dark' : 'light');
    document.dispatchEvent(new Event('themechange'));
  };
  dark.addEventListener('change', apply);
  document.addEventListener('themechosen', apply);
  apply();
})();
