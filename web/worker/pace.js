// Estimates the remaining time of a download.

/** The estimate uses the last so many milliseconds, because cached bytes arrive faster than those from the network. */
const LOOK_BACK = 5000;

/** The shortest time for an estimate, in milliseconds. */
const LEAST = 500;

export class Pace {
  /** Recent reports, oldest first. */
  #reports = [];

  /** The estimated seconds until all `total` bytes are loaded; undefined while unknown. */
  secondsLeft(loaded, total) {
    const at = performance.now();
    this.#reports.push({ at, loaded });
    while (at - this.#reports[0].at > LOOK_BACK) this.#reports.shift();
    const [first] = this.#reports;
    const [took, came] = [at - first.at, loaded - first.loaded];
    return took >= LEAST && came > 0 ? ((total - loaded) * took) / came / 1000 : undefined;
  }
}
