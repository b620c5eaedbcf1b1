// The WebSocket to panosam2_web: frames and states come, commands go and are answered, lost connections are made again.

const RETRY = [500, 1000, 2000, 4000]; // ms
const TOO_MANY = 1013;

export class CallError extends Error {
  constructor({ name, code, message }) {
    super(message);
    this.name = name;
    this.code = code;
  }
}

export class Connection {
  // handlers: frame(buffer) returns a promise, state(values), status(kind, text), token()
  constructor(handlers) {
    this.handlers = handlers;
    this.calls = new Map();
    this.nextId = 1;
    this.tries = 0;
    this.socket = null;
    this.drawn = Promise.resolve(); // of the frame before: they are drawn in the order in which they come
  }

  async open() {
    clearTimeout(this.timer);
    let session;
    try {
      const response = await fetch("session", { cache: "no-store" });
      session = await response.json();
      if (!response.ok) return this.lost("refused", session.message);
    } catch {
      return this.lost("lost", "The node panosam2_web does not answer: has it ended? Trying again.");
    }
    if (!session.authorised) return this.handlers.token();
    const address = new URL("socket", location.href);
    address.protocol = location.protocol === "https:" ? "wss:" : "ws:";
    address.hash = "";
    const socket = this.socket = new WebSocket(address);
    socket.binaryType = "arraybuffer";
    socket.onopen = () => {
      this.tries = 0;
      this.handlers.status("open", "");
    };
    socket.onmessage = (message) => this.take(message.data);
    socket.onclose = (event) => {
      this.failCalls();
      const full = event.code === TOO_MANY;
      this.lost(full ? "full" : "lost", full ? event.reason : event.reason || "Trying again.");
    };
  }

  lost(kind, text) {
    this.handlers.status(kind, text);
    const wait = RETRY[Math.min(this.tries++, RETRY.length - 1)];
    this.timer = setTimeout(() => this.open(), wait);
  }

  take(data) {
    if (data instanceof ArrayBuffer) {
      this.drawn = this.drawn.then(() => this.handlers.frame(data)).catch((error) => console.error(error));
      this.drawn.then(() => this.seen());
      return;
    }
    const values = JSON.parse(data);
    if (values.type === "state") {
      this.handlers.state(values);
      this.seen();
    } else if (values.type === "answer") {
      const waiting = this.calls.get(values.id);
      this.calls.delete(values.id);
      if (waiting) values.ok ? waiting.resolve(values) : waiting.reject(new CallError(values));
    }
  }

  seen() {
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send('{"call":"seen"}');
  }

  call(call, values = {}) {
    if (this.socket?.readyState !== WebSocket.OPEN) {
      return Promise.reject(new CallError({ name: "NOT_CONNECTED", message: "there is no connection to panosam2_web" }));
    }
    const id = this.nextId++;
    this.socket.send(JSON.stringify({ call, id, ...values }));
    return new Promise((resolve, reject) => this.calls.set(id, { resolve, reject }));
  }

  failCalls() {
    const error = new CallError({ name: "NOT_CONNECTED", message: "the connection was lost before the answer came" });
    for (const { reject } of this.calls.values()) reject(error);
    this.calls.clear();
  }

  async login(token) {
    const response = await fetch("login", {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ token }),
    });
    const values = await response.json();
    if (!response.ok) throw new CallError({ name: "TOKEN", message: values.message });
    await this.open();
  }
}
