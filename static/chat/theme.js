// Sets the theme that the reader chose before anything is drawn; so it is no module, which would come too late.
// Does not know what a theme looks like.

{
  let theme = "system";
  try {
    theme = JSON.parse(localStorage.getItem("twowire-preferences") ?? "{}").theme ?? theme;
  } catch {
    // The system's, then.
  }
  document.documentElement.dataset.theme = theme;
}
