// The search runs in a worker, which browsers do not start for pages that are opened from the disk. There it runs in a
// hidden frame instead, behind the same interface.
class IFrameWorker extends EventTarget {
  constructor(url) {
    super();
    this.frame = document.createElement("iframe");
    this.frame.hidden = true;
    this.frame.title = "Search";
    document.body.append(this.frame);
    this.inside = this.frame.contentWindow;
    this.inside.postMessage = (data) => this.dispatchEvent(new MessageEvent("message", { data }));
    this.inside.importScripts = async (...urls) => {
      for (const script of urls) await this.load(script);
    };
    this.ready = this.load(url).catch(() => this.dispatchEvent(new ErrorEvent("error", { filename: url })));
  }

  load(url) {
    const script = this.inside.document.createElement("script");
    script.src = url;
    const loaded = new Promise((resolve, reject) => {
      script.onload = resolve;
      script.onerror = reject;
    });
    this.inside.document.head.append(script);
    return loaded;
  }

  postMessage(data) {
    this.ready.then(() => this.inside.dispatchEvent(new MessageEvent("message", { data })));
  }

  terminate() {
    this.frame.remove();
  }
}

if (location.protocol === "file:") {
  window.IFrameWorker = IFrameWorker;
  window.Worker = IFrameWorker;
}
