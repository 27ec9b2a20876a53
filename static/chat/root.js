// The address of the server's root, at which the page itself is: a proxy may show it below a path of its own.

export const ROOT = new URL(".", document.baseURI).href;
