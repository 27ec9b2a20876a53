// The connection to the server: its channel, its models, whether it is ready, and the API key.

import { Channel } from "../../channel.js";
import { ROOT } from "../root.js";

/** @typedef {import("../../channel.js").StateDetail} StateDetail */

/** @typedef {{ done: number, total: number, unit: "bytes" | "files" | "steps" }} Progress */

/**
 * @typedef {object} Health The body of `/health`.
 * @property {string} state
 * @property {string} reason
 * @property {Progress | null} [progress] How much of what `reason` says is done, while the engine starts.
 * @property {number} since
 * @property {number} timestamp
 */

/**
 * @typedef {"connecting" | "loading" | "unavailable" | "ready" | "resumed" | "reconnecting" | "locked" | "closed"} Kind
 */

/**
 * @typedef {object} Status
 * @property {Kind} kind
 * @property {string} reason The server's, if it gave one.
 * @property {Progress | null} [progress] How much of that is done, while the engine starts.
 * @property {number} seconds Since the engine entered its state, or the server has been away.
 * @property {"websocket" | "http"} wire What carries the answers.
 */

const POLL_MS = 1000;
const POLL_READY_MS = 15_000;
const TIMEOUT_MS = 10_000;
const RESUMED_MS = 5000;

export class Connection extends EventTarget {
  /** @type {Channel | undefined} */
  #channel;
  #key;
  /** The channel's state. @type {Kind} */
  #wire = "connecting";
  #reason = "";
  /** @type {Health | null} */
  #health = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #pollTimer;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #resumedTimer;
  /** The request for the models that is running. @type {Promise<void> | undefined} */
  #readingModels;
  #isLocked = false;
  /** Whether the server has keys. */
  asksForKey = false;
  /** @type {string[]} */
  models = [];
  /** Since when there has been no connection; 0 if there is one. */
  #awaySince = Date.now();
  /** The models that may think before they answer. @type {Set<string>} */
  thinkers = new Set();
  /** The models that take images. @type {Set<string>} */
  seers = new Set();

  /** @type {import("../../channel/connection.js").Watcher | undefined} */
  #onFrame;

  /** @param {string} key */
  constructor(key) {
    super();
    this.#key = key;
    document.addEventListener("visibilitychange", () => { if (!document.hidden) void this.#poll(); });
    void this.#poll();
    void this.#connect();
  }

  get isReady() { return this.#health?.state === "ready" && !this.#isLocked && this.#wire !== "closed"; }

  /** @returns {Status} */
  get status() {
    const health = this.#health;
    const inState = health ? Math.max(0, Math.round(health.timestamp - health.since)) : 0;
    /** @type {(kind: Kind, reason?: string) => Status} */
    const status = (kind, reason = "") => {
      const isAway = kind === "connecting" || kind === "reconnecting";
      const seconds = isAway ? Math.round((Date.now() - (this.#awaySince || Date.now())) / 1000) : inState;
      return { kind, reason, seconds, wire: this.#channel?.wire ?? "websocket" };
    };
    if (this.#isLocked) return status("locked", this.#reason);
    if (this.#wire === "closed" || this.#wire === "reconnecting") return status(this.#wire, this.#reason);
    if (health === null) return status("connecting");
    if (health.state === "starting" || health.state === "restarting") {
      return { ...status("loading", health.reason), progress: health.progress ?? null };
    }
    if (health.state !== "ready") return status("unavailable", health.reason || health.state);
    return status(this.#wire);
  }

  /** The channel to the server; a new one if the last was closed for good. */
  get channel() {
    if (this.#channel === undefined || this.#channel.state === "closed") this.#channel = this.#open();
    return this.#channel;
  }

  /**
   * Have each frame on the socket passed to `watcher`; undefined for none.
   * @param {import("../../channel/connection.js").Watcher | undefined} watcher
   */
  watch(watcher) {
    this.#onFrame = watcher;
    if (this.#channel !== undefined) this.#channel.onFrame = watcher;
  }

  /**
   * Connect again, with this key.
   * @param {string} key
   */
  unlock(key) {
    this.#key = key;
    this.#isLocked = false;
    this.#channel?.close();
    this.#channel = undefined;
    this.#wire = "connecting";
    this.#readingModels = undefined;
    this.#changed();
    void this.#poll();
    void this.#connect();
  }

  /**
   * Resolves once the server can generate, however long that takes.
   * @param {AbortSignal} signal Rejects when it aborts.
   * @returns {Promise<void>}
   */
  ready(signal) {
    return new Promise((resolve, reject) => {
      const look = () => {
        if (!signal.aborted && !this.isReady) return;
        this.removeEventListener("change", look);
        signal.removeEventListener("abort", look);
        if (signal.aborted) reject(signal.reason);
        else resolve();
      };
      this.addEventListener("change", look);
      signal.addEventListener("abort", look);
      look();
    });
  }

  /** A request found the engine not ready: ask for its state again. */
  doubt() {
    if (this.#health?.state === "ready") this.#health = { ...this.#health, state: "starting", reason: "" };
    this.#changed();
    void this.#poll();
  }

  // -- the channel ---------------------------------------------------------------------------------------------------

  #open() {
    /** @type {Channel} */
    const channel = new Channel({
      ...(this.#key ? { apiKey: this.#key } : {}),
      baseUrl: ROOT,
      fallback: true,
      onState: (state, detail) => { if (channel === this.#channel) this.#onState(state, detail); },
    });
    channel.onFrame = this.#onFrame;
    return channel;
  }

  async #connect() {
    await this.#readModels();
    // Connect before the first question, so that the reader sees the state. A failure shows as a state, too.
    if (!this.#isLocked) await this.channel.connect().catch(() => {});
  }

  /**
   * @param {import("../../channel.js").State} state
   * @param {StateDetail} detail
   */
  #onState(state, detail) {
    clearTimeout(this.#resumedTimer);
    this.#reason = detail.reason ?? "";
    if (state === "ready" || state === "resumed") {
      // It may be another server than before.
      if (this.#wire === "reconnecting") void this.#poll();
      this.#wire = state;
      if (state === "resumed") this.#resumedTimer = setTimeout(() => this.#onState("ready", {}), RESUMED_MS);
    } else if (state === "reconnecting" || state === "connecting") {
      this.#wire = state;
      if (detail.attempt !== undefined) void this.#poll();
    } else if (state === "closed") {
      this.#wire = "closed";
      if (detail.error?.code === "invalid_api_key") this.#lock(detail.error.message);
    }
    this.#changed();
  }

  /** @param {string} reason */
  #lock(reason) {
    this.asksForKey = true;
    this.#isLocked = true;
    this.#reason = reason;
    this.#changed();
  }

  // -- the server's state --------------------------------------------------------------------------------------------

  async #poll() {
    clearTimeout(this.#pollTimer);
    const wasReady = this.isReady;
    try {
      const answer = await this.#get("health");
      const body = await answer.json();
      this.#health = typeof body.state === "string" ? body : null;
    } catch {
      this.#health = null;
    }
    this.#changed();
    if (this.isReady && (!wasReady || this.models.length === 0)) void this.#readModels();
    clearTimeout(this.#pollTimer);
    // A hidden page polls when it becomes visible again, or when a request fails.
    this.#pollTimer = setTimeout(() => this.#poll(), this.isReady ? POLL_READY_MS : POLL_MS);
  }

  #readModels() {
    const reading = this.#readingModels ?? this.#askForModels().finally(() => {
      if (this.#readingModels === reading) this.#readingModels = undefined;
    });
    this.#readingModels = reading;
    return reading;
  }

  async #askForModels() {
    try {
      const answer = await this.#get("v1/models");
      const body = await answer.json();
      if (answer.status === 401) {
        this.#lock(this.#key ? body.error.message : "");
      } else if (answer.ok) {
        this.asksForKey ||= this.#key !== "";
        /** @type {{ id: string, type?: string, reasoning_parser?: string | null, input_modalities?: string[] }[]} */
        const models = body.data;
        // Not the models for embeddings and ranking. Servers without `type` have chat models only.
        this.models = models.filter(({ type }) => (type ?? "chat") === "chat").map(({ id }) => id);
        this.thinkers = new Set(models.filter((one) => one.reasoning_parser).map(({ id }) => id));
        this.seers = new Set(models.filter((one) => one.input_modalities?.includes("image")).map(({ id }) => id));
        this.#changed();
      }
    } catch {
      // The server is unreachable: the next poll tries again.
    }
  }

  /** @param {string} path */
  #get(path) {
    /** @type {Record<string, string>} */
    const headers = this.#key && path.startsWith("v1/") ? { Authorization: `Bearer ${this.#key}` } : {};
    return fetch(new URL(path, ROOT), { headers, cache: "no-store", signal: AbortSignal.timeout(TIMEOUT_MS) });
  }

  #changed() {
    const { kind } = this.status;
    if (kind !== "connecting" && kind !== "reconnecting") this.#awaySince = 0;
    else this.#awaySince ||= Date.now();
    this.dispatchEvent(new Event("change"));
  }
}
