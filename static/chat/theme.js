// Sets the reader's theme before the first paint. A module would run too late.

{
  let theme = "system";
  try {
    theme = JSON.parse(localStorage.getItem("twowire-preferences") ?? "{}").theme ?? theme;
  } catch {
    // Keep the system's theme.
  }
  document.documentElement.dataset.theme = theme;
}
