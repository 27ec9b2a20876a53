// Puts the chat together: which conversation is shown, and what the parts do to each other.

import { byId } from "../dom.js";
import { Bench } from "./bench/bench.js";
import { Guest } from "./guest/guest.js";
import { AnswerChoice } from "./state/answer-choice.js";
import { Announcer } from "./views/announcer.js";
import { Chips } from "./views/chips.js";
import { Composer } from "./views/composer.js";
import { Connection } from "./state/connection.js";
import { listenForFiles, saveChats } from "./views/files.js";
import { t, translate, useLanguage } from "./i18n.js";
import { drawIcons } from "./icons.js";
import { installWorker, keepStorage } from "./offline.js";
import { Shown } from "./page/shown.js";
import { Library } from "./state/conversations.js";
import { Load } from "./state/load.js";
import { readKey, readPreferences, sharePreferences, writeKey, writePreferences } from "./state/preferences.js";
import { prepareRichText } from "./text/rich-text.js";
import { SettingsView } from "./views/settings-view.js";
import { listenForDrops, takeFiles } from "./views/dropped-files.js";
import { listenForKeys } from "./views/shortcuts.js";
import { keepInView, toggleChats } from "./views/shell.js";
import { Sidebar } from "./views/sidebar.js";
import { StatusView, waitingText } from "./views/status-view.js";
import { openStore } from "./state/store.js";
import { ThreadView } from "./views/thread-view.js";
import { showTries } from "./views/message/tries.js";
import { toast } from "./toast.js";

const NEW = "new";

const preferences = readPreferences();
const connection = new Connection(readKey());
// Concurrently: each takes a while.
const [store] = await Promise.all([openStore(), useLanguage(preferences.language), prepareRichText()]);
const load = new Load(connection, showWaiting);
const library = new Library(store, connection, () => ({ model: choice.model, sampling: { ...preferences.sampling } }));

const shown = new Shown(library, connection);
const choice = new AnswerChoice(library, connection, preferences, () => shown.id);

const announcer = new Announcer(byId("announcements"));
const thread = new ThreadView(byId("scroller"), byId("thread"), {
  edit: (message, text) => void library.edit(message, text).then(() => thread.goToEnd()),
  regenerate: (message) => void library.regenerate(message).then(() => thread.goToEnd()),
  continueAnswer: (message) => library.continueAnswer(message),
  choose: (message) => void library.choose(message),
  siblings: (message) => library.siblings(message),
  isRunning: (message) => library.isRunning(message.id),
  isLast: (message) => library.conversation(message.conversation)?.leaf === message.id,
  answerCalls: (message, results) => void library.answerCalls(message, results).then(() => thread.goToEnd()),
  waitingFor: (isEmpty, { answer }) => {
    const text = waitingText(connection.status, isEmpty);
    return (text === t("waiting") && load.place(answer?.cursor?.id)) || text;
  },
}, (isAtEnd) => { byId("to-end").hidden = isAtEnd; });
const composer = new Composer(byId("composer"), {
  send: async (text, pictures) => {
    const id = await library.ask(shown.id, text, pictures);
    if (shown.id === null) go(id);
    thread.goToEnd();
  },
  stop: stopAnswer,
  typed: () => void shown.readAhead(choice),
  files: (files) => void takeFiles(files, taker),
  last: () => shown.last("user")?.text ?? "",
});
/** @type {import("./views/dropped-files.js").Taker} */
const taker = {
  add: (text) => (bench.isShown ? bench : composer).add(text),
  addPictures: (pictures) => composer.addPictures(pictures),
  canSee: () => !bench.isShown && choice.canSee,
  refuse: (problem) => toast(byId("toasts"), problem),
};
const sidebar = new Sidebar(library, {
  open: go,
  remove: (one) => void shown.remove(one, startNew),
  save: (one) => void saveChats(library, [one]),
});
const bench = new Bench({ connection, model: () => choice.model, sampling: () => preferences.sampling });
const guest = new Guest(connection);
const status = new StatusView({ again: () => connection.unlock(readKey()), key: () => settings.askForKey("") });
const chips = new Chips({
  settings: () => settings.open(),
  think: (thinking) => {
    const { thinking: _, ...others } = choice.sampling;
    setSampling(thinking === undefined ? others : { ...others, thinking });
  },
});
const settings = new SettingsView(preferences, {
  sampling: () => choice.sampling,
  setSampling,
  setModel: (model) => { choice.model = model; showConnection(); },
  isInChat: () => shown.id !== null,
  changed: () => {
    writePreferences(preferences);
    showPreferences();
  },
  key: (key) => {
    writeKey(key);
    connection.unlock(key);
  },
});

function showPreferences() {
  document.documentElement.dataset.theme = preferences.theme;
  void speak();
  showConnection();
  load.show(preferences.load);
  byId("show-load").ariaPressed = String(preferences.load);
}

sharePreferences(preferences, showPreferences);

/** @param {import("./types.js").Sampling} sampling */
function setSampling(sampling) {
  choice.sampling = sampling;
  showChips();
}

function showChips() {
  chips.show(choice.sampling, choice.canThink);
}

// -- which conversation -----------------------------------------------------------------------------------------------

/** @param {string | null} id */
function go(id) {
  const hash = id === null ? "" : `#/${id}`;
  if (location.hash === hash) return;
  history.pushState(null, "", hash || location.pathname);
  void show();
}

async function show() {
  guest.follow();
  if (bench.follow()) return showBench();
  const asked = /^#\/(\w+)$/.exec(location.hash)?.[1] ?? null;
  const isAnother = asked !== shown.id || byId("thread").childElementCount === 0;
  const id = asked !== null && library.conversation(asked) !== undefined ? asked : null;
  shown.id = id;
  shown.mark();
  if (id !== null && library.conversation(id)?.isUnread) void library.change(id, { isUnread: false });
  if (id !== null) await library.load(id);
  // The reader may have chosen another one meanwhile.
  if (id !== shown.id) return;
  if (isAnother) thread.clear();
  settings.showModels(connection.models, choice.model);
  showThread();
  composer.show(shown.id ?? NEW);
  sidebar.select(shown.id ?? "");
  toggleChats(false);
  if (isAnother) thread.goToEnd();
}

function showBench() {
  shown.id = null;
  shown.mark();
  thread.clear();
  sidebar.select("");
  toggleChats(false);
  showState();
}

function showThread() {
  const { path } = shown;
  byId("welcome").hidden = path.length > 0;
  thread.show(path);
  showState();
}

function showState() {
  const title = bench.isShown ? t("bench") : guest.isShown ? t("answer") : shown.conversation?.title ?? "";
  const unread = library.conversations.filter(({ isUnread }) => isUnread).length;
  document.title = `${unread > 0 ? `(${unread}) ` : ""}${title ? `${title} · ` : ""}twowire`;
  byId("title").textContent = title || t("newChat");
  const { running } = shown;
  composer.update(running !== undefined);
  load.follow(running);
  showChips();
}

/** @param {string} question */
function askAtOnce(question) {
  composer.fill(question);
  byId("composer").requestSubmit();
}

function startNew() {
  go(null);
  composer.focus();
}

function stopAnswer() {
  if (bench.isShown) bench.stop();
  else shown.stop();
}

// -- the state of the connection --------------------------------------------------------------------------------------

function showConnection() {
  const now = connection.status;
  status.show(now);
  settings.showModels(connection.models, choice.model);
  showTries(connection.models.length === 0 ? "" : choice.model, askAtOnce);
  showChips();
  byId("change-key").hidden = !connection.asksForKey;
  if (now.kind === "locked" && !byId("key-dialog").open && !isKeyDeclined) settings.askForKey(now.reason);
  if (now.kind !== "locked") isKeyDeclined = false;
  showWaiting();
}

/** A waiting answer says what it is waiting for. */
function showWaiting() {
  const { running } = shown;
  if (running !== undefined) thread.changed(running);
}

let isKeyDeclined = false;

async function speak() {
  const before = document.documentElement.lang;
  await useLanguage(preferences.language);
  if (before === document.documentElement.lang) return;
  translate(document);
  bench.speak();
  guest.follow();
  status.reset();
  thread.clear();
  showThread();
  showConnection();
  sidebar.select(shown.id ?? "");
}

// -- the page ---------------------------------------------------------------------------------------------------------

drawIcons(document);
translate(document);
keepInView();
listenForDrops(taker);

connection.addEventListener("change", showConnection);
shown.follow({
  removed: () => go(null),
  listed: () => {
    settings.showModels(connection.models, choice.model);
    showState();
  },
  changed: showThread,
  answered: (message, isNewStage) => {
    if (!thread.changed(message)) return;
    announcer.follow(message, library.isRunning(message.id));
    if (isNewStage) showState();
  },
});

byId("key-dialog").addEventListener("close", () => { isKeyDeclined = connection.status.kind === "locked"; });
byId("new").addEventListener("click", startNew);
byId("new-too").addEventListener("click", startNew);
byId("to-end").addEventListener("click", () => thread.goToEnd());
byId("open-settings").addEventListener("click", () => settings.open());
byId("show-load").addEventListener("click", () => {
  preferences.load = !preferences.load;
  writePreferences(preferences);
  showPreferences();
});
byId("change-key").addEventListener("click", () => settings.askForKey(""));
byId("open-inspector").addEventListener("click", () => void shown.inspect(byId("open-inspector")));
byId("model").addEventListener("change", () => {
  choice.model = byId("model").value;
  showConnection();
});
listenForFiles(library);
addEventListener("popstate", () => void show());
document.querySelector(".skip")?.addEventListener("click", (event) => {
  event.preventDefault();
  (bench.isShown ? bench : composer).focus();
});
listenForKeys({
  startNew,
  stop: stopAnswer,
  editLast: () => thread.editLast(),
  copyLast: () => void shown.copyLast(),
  hasSingleKeys: () => preferences.singleKeys,
  setSingleKeys: (isWanted) => {
    preferences.singleKeys = isWanted;
    writePreferences(preferences);
  },
});

await library.open();
showPreferences();
await show();
if (!library.isKept) toast(byId("toasts"), t("notKept"));
// Not before there is something to keep, since some browsers ask the reader.
else if (library.conversations.length > 0) void keepStorage();
void installWorker();
