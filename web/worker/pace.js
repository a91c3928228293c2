// How long a download will take.

/** It goes on as in the last so many milliseconds: what was kept already comes faster than what the network brings. */
const LOOK_BACK = 5000;

/** Less than this tells nothing, in milliseconds. */
const LEAST = 500;

export class Pace {
  /** Recent reports, oldest first. */
  #reports = [];

  /** The seconds until all `total` bytes are there, of which `loaded` are now; undefined as long as nothing can be said. */
  secondsLeft(loaded, total) {
    const at = performance.now();
    this.#reports.push({ at, loaded });
    while (at - this.#reports[0].at > LOOK_BACK) this.#reports.shift();
    const [first] = this.#reports;
    const [took, came] = [at - first.at, loaded - first.loaded];
    return took >= LEAST && came > 0 ? ((total - loaded) * took) / came / 1000 : undefined;
  }
}
