// The line to the server: an event stream that is opened again by our own rule, or, where none gets through, polling.

const RETRY = [1, 2, 5, 10, 30], FIRST_EVENT = 5, QUIET = 45, POLL = 2, REST_AFTER = 60, REST = 30, STALE = 20, STREAMS = 4;

/**
 * Keeps a page up to date.
 *
 * `address()` is where the stream goes on from; `on` holds a function for each event; `catchUp()` fetches what was
 * missed and tells whether there is more to come, or throws an answer's status (0: there was none); `tell(state,
 * seconds)` shows how the line is: "", lost, away, restart, blocked, back, signin, missing.
 */
export class Line {
  constructor(parts) {
    Object.assign(this, { ...parts, source: null, fails: 0, newer: 0, lostAt: 0, turn: 0, heardAt: Date.now() });
    this.channel = new BroadcastChannel("longhand");
    this.channel.onmessage = ({ data }) => this.heardOf(data);
    for (const [where, name] of [[window, "online"], [window, "pageshow"], [document, "visibilitychange"]]) {
      where.addEventListener(name, () => this.wake(name));
    }
    window.addEventListener("pagehide", () => this.close());
  }

  /** Open the stream, or poll where none gets through. */
  open() {
    this.close();
    this.live = true;
    if (this.blocked) return this.later(POLL, () => this.again());
    const source = (this.source = new EventSource(this.address()));
    for (const name of ["ping", "draining", ...Object.keys(this.on)]) {
      source.addEventListener(name, (event) => this.heard(name, event));
    }
    source.onerror = () => this.lost();
    this.newer = 0;
    this.channel.postMessage({ opened: this.address() });
    this.later(FIRST_EVENT, () => this.giveUp());
  }

  /** Close the stream and do nothing more until it is opened again. */
  close() {
    this.source?.close();
    this.source = null;
    this.turn++;
    clearTimeout(this.timer);
  }

  /** The end: there is nothing more to come. */
  stop() {
    this.close();
    this.live = false;
    this.found();
  }

  heard(name, event) {
    if (event.lastEventId) this.id = event.lastEventId;
    this.heardAt = Date.now();
    this.fails = 0;
    this.later(QUIET, () => this.lost());
    this.found();
    if (name === "draining") this.show("restart");
    else this.on[name]?.(JSON.parse(event.data));
  }

  found() {
    clearTimeout(this.patience);
    if (this.lostAt && this.shown) this.show("back"), setTimeout(() => this.shown === "back" && this.show(""), 3000);
    this.lostAt = 0;
  }

  lost() {
    this.close();
    this.blocked = false; // what comes next may be another way
    if (!this.lostAt) {
      this.lostAt = Date.now();
      this.patience = setTimeout(() => this.shown !== "restart" && this.show("lost"), 3000);
    }
    const seconds = RETRY[Math.min(this.fails++, RETRY.length - 1)] * (0.8 + Math.random() * 0.4);
    if (Date.now() - this.lostAt >= 30000) this.show("away", Math.round(seconds));
    this.later(seconds, () => this.again());
  }

  /** Fetch what was missed, then go on as the page's state allows. */
  async again() {
    this.close();
    const turn = this.turn;
    let more;
    try {
      more = await this.catchUp();
    } catch (status) {
      if (turn === this.turn) this.refused(status);
      return;
    }
    if (turn !== this.turn) return;
    if (!more) return this.stop();
    this.heardAt = Date.now();
    if (this.resting) this.later(REST, () => this.again());
    else if (this.yielded) this.later(POLL, () => this.again());
    else return this.open();
    this.found();
  }

  refused(status) {
    if (status === 401) this.end("signin");
    else if (status === 404) this.end("missing");
    else if (typeof status !== "number") throw status;
    else this.lost();
  }

  end(state) {
    this.live = false;
    clearTimeout(this.patience);
    this.show(state);
  }

  giveUp() {
    this.blocked = true;
    this.show("blocked");
    this.again();
  }

  // A browser has six connections to a host: the oldest of the streams gives way to newer ones.
  heardOf({ opened }) {
    if (opened && this.source && ++this.newer >= STREAMS) {
      this.yielded = true;
      this.again();
    }
  }

  wake(name) {
    clearTimeout(this.rest);
    if (!this.live) return;
    if (document.visibilityState === "hidden") {
      this.rest = setTimeout(() => ((this.resting = true), this.again()), REST_AFTER * 1000);
      return;
    }
    const stale = !this.source || Date.now() - this.heardAt > STALE * 1000;
    this.resting = this.yielded = false;
    if (name === "online") this.blocked = false;
    if (stale && !(name === "pageshow" && this.source)) this.again();
  }

  show(state, seconds) {
    this.shown = state;
    this.tell(state, seconds);
  }

  later(seconds, what) {
    clearTimeout(this.timer);
    this.timer = setTimeout(what, seconds * 1000);
  }
}
