// Both videos lie over each other, and run together: beside a slower result the source is played more slowly.
function show() {
  const box = element.querySelector(".vfi-player");
  const value = props.value?.after ? JSON.parse(JSON.stringify(props.value)) : null;  // what props hold may change
  const part = (name) => box.querySelector("." + name);
  const before = part("before"), after = part("after"), split = part("split"), seek = part("seek");
  const url = (name) => `vfi-files/${value.folder}/${name}`;
  box.hidden = !value;
  if (!value) { for (const video of [before, after]) { video.pause(); video.removeAttribute("src"); video.load(); } return; }
  const cut = () => { before.style.clipPath = `inset(0 ${100 - split.value}% 0 0)`; };
  const follow = () => {
    const due = value.begins[0] + Math.max(0, after.currentTime - value.begins[1]) / value.slower;
    if (Math.abs(before.currentTime - due) > 0.08 && before.duration) before.currentTime = Math.min(due, before.duration);
  };
  after.src = url(value.after);
  before.src = url(value.before);
  before.defaultPlaybackRate = before.playbackRate = Math.max(1 / value.slower, 0.0625);
  split.oninput = cut;
  cut();
  seek.oninput = () => { after.currentTime = seek.value * (after.duration || 0); follow(); };
  after.ontimeupdate = () => { seek.value = after.currentTime / (after.duration || 1); follow(); };
  after.onplay = () => { part("play").textContent = "Pause"; before.play().catch(() => {}); };
  after.onpause = () => { part("play").textContent = "Play"; before.pause(); };
  part("play").onclick = () => (after.paused ? after.play() : after.pause());
  part("sound").onclick = () => { after.muted = !after.muted; part("sound").textContent = after.muted ? "Sound on" : "Sound off"; };
  part("note").textContent = value.note;
  const link = part("download");
  link.href = `${url(value.output)}?as=${encodeURIComponent(value.name)}`;
  link.textContent = `Download ${value.name} (${value.size})`;
  after.play().catch(() => {});
}
show();
watch("value", show);
