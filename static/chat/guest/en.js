// The texts about linked answers in English.

export default {
  title: "Link to the live answer",
  explanation: "Whoever opens it reads this answer while it is generated, and shortly after. If the server requires an API key, they need one too.",
  onlyHere: "{host} is an address of this computer: other devices cannot open the link.",
  link: "Link",
  qrCode: "QR code of the link",
  guest: "Somebody else asked for this answer. You can only read it.",
  gone: "This answer is no longer there. A link shows an answer while it is generated, and shortly after.",
};
