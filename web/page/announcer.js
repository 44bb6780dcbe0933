/** Announces an answer to screen readers at intervals, in complete sentences. */

const INTERVAL_MS = 2500;

/** @param {HTMLElement} region an element with `aria-live` @param {string} language */
export function createAnnouncer(region, language) {
  const segmenter = new Intl.Segmenter(language, { granularity: "sentence" });
  let [announced, timer, readText] = [0, 0, /** @type {() => string} */ (() => "")];

  /** @param {boolean} ended */
  function announce(ended) {
    const sentences = [...segmenter.segment(readText())].map(({ segment }) => segment.trim()).filter(Boolean);
    const complete = ended ? sentences.length : Math.max(0, sentences.length - 1);
    if (complete > announced) say(sentences.slice(announced, complete).join(" "));
    announced = Math.max(announced, complete);
  }

  /** @param {string} text */
  function say(text) {
    const line = document.createElement("p");
    line.textContent = text;
    region.append(line);
    while (region.childElementCount > 5) region.firstElementChild?.remove();
  }

  return {
    say,
    /** @param {() => string} source returns the text so far */
    begin(source) {
      clearInterval(timer);
      [announced, readText] = [0, source];
      timer = setInterval(announce, INTERVAL_MS, false);
    },
    end() {
      if (!timer) return;
      clearInterval(timer);
      timer = 0;
      announce(true);
    },
  };
}
