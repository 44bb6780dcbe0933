/** Tells a screen reader of an answer by whole sentences, now and then, and never by single words. */

const EVERY = 2500;

/** @param {HTMLElement} region an element with `aria-live` @param {string} language */
export function createAnnouncer(region, language) {
  const segmenter = new Intl.Segmenter(language, { granularity: "sentence" });
  let [told, timer, read] = [0, 0, /** @type {() => string} */ (() => "")];

  /** @param {boolean} ended */
  function tell(ended) {
    const sentences = [...segmenter.segment(read())].map(({ segment }) => segment.trim()).filter(Boolean);
    const whole = ended ? sentences.length : Math.max(0, sentences.length - 1);
    if (whole > told) say(sentences.slice(told, whole).join(" "));
    told = Math.max(told, whole);
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
    /** @param {() => string} source gives the text so far */
    begin(source) {
      clearInterval(timer);
      [told, read] = [0, source];
      timer = setInterval(tell, EVERY, false);
    },
    end() {
      if (!timer) return;
      clearInterval(timer);
      timer = 0;
      tell(true);
    },
  };
}
