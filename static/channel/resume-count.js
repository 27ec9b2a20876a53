// Counts the generations that were resumed or lost after a reconnect, until none is pending.

export class ResumeCount {
  resumed = 0;
  lost = 0;

  /**
   * The counts, which then start again from 0; null while a run is pending, or if there is nothing to report.
   * @param {Iterable<import("./generation.js").Run>} runs
   */
  take(runs) {
    if (this.resumed + this.lost === 0) return null;
    for (const { phase } of runs) if (phase === "detached" || phase === "resuming") return null;
    const counts = { resumed: this.resumed, lost: this.lost };
    this.resumed = this.lost = 0;
    return counts;
  }
}
