// Hands the microphone's samples to the page, about ten times a second.
class Recorder extends AudioWorkletProcessor {
  constructor() {
    super();
    this.held = new Float32Array(1600);
    this.count = 0;
  }

  process(inputs) {
    const channels = inputs[0];
    if (!channels.length) return true;
    for (let n = 0; n < channels[0].length; n++) {
      let sum = 0;
      for (const channel of channels) sum += channel[n];
      this.held[this.count++] = sum / channels.length;
      if (this.count === this.held.length) {
        this.port.postMessage(this.held);
        this.held = new Float32Array(1600);
        this.count = 0;
      }
    }
    return true;
  }
}
registerProcessor("recorder", Recorder);
