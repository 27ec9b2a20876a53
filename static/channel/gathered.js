// What a generation's chunks add up to beside its text: reasoning and tool calls.

/**
 * @typedef {object} Delta What a chunk adds to a choice.
 * @property {string | null} [content]
 * @property {string | null} [reasoning]
 * @property {{ index: number, id?: string, type?: string, function?: { name?: string, arguments?: string },
 *   custom?: { name?: string, input?: string } }[]} [tool_calls]
 */

/**
 * @typedef {object} ToolCall A call as far as it has come, in the form that the chat's history takes.
 * @property {string} id
 * @property {string} type
 * @property {{ name: string, arguments: string }} [function]
 * @property {{ name: string, input: string }} [custom]
 */

/** The reasoning and the calls of one choice so far. */
export class Gathered {
  /** @type {Map<number, ToolCall>} */
  #byIndex;

  /**
   * @param {string} [reasoning] What was gathered of it before.
   * @param {ToolCall[]} [toolCalls] Likewise; more is added to these.
   */
  constructor(reasoning = "", toolCalls = []) {
    this.reasoning = reasoning;
    this.toolCalls = toolCalls;
    this.#byIndex = new Map(toolCalls.entries());
  }

  /** @param {Delta} delta */
  add(delta) {
    this.reasoning += delta.reasoning ?? "";
    for (const call of delta.tool_calls ?? []) this.#addCall(call);
  }

  /** @param {NonNullable<Delta["tool_calls"]>[number]} delta */
  #addCall(delta) {
    const call = this.#byIndex.get(delta.index);
    if (call === undefined) {
      // The id, type and name come once, with the call's first delta. Without them, its beginning was missed.
      if (delta.id === undefined) return;
      const { index, ...begun } = structuredClone(delta);
      this.#byIndex.set(index, /** @type {ToolCall} */ (begun));
      this.toolCalls.push(/** @type {ToolCall} */ (begun));
      return;
    }
    if (call.function) call.function.arguments += delta.function?.arguments ?? "";
    if (call.custom) call.custom.input += delta.custom?.input ?? "";
  }
}
