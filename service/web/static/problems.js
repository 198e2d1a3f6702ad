// Errors in plain words.

const ADVICE = {
  bad_request: "The service does not understand this request.",
  unauthenticated: "This service asks for an API key. Enter yours beside the model, and send the image again.",
  unknown_model: "This model is no longer served. Choose another one.",
  too_large: "This image is too large for the service. Send a smaller one.",
  unsupported_media_type: "This is not an image that the service can read. Use a JPEG, PNG or WebP file.",
  unreadable_image: "This image is damaged and cannot be read. Try another copy of it.",
  decode_timeout: "This image takes too long to read. Save it in another format, or send a smaller one.",
  overloaded: "The service is busy with other images. Try again in a moment.",
  unavailable: "The service is starting or stopping. Try again in a moment.",
  deadline_exceeded: "The service took too long and gave up. Try again, or use a smaller image.",
  internal: "Something went wrong inside the service. Its log says more.",
};
const PASSING = new Set(["overloaded", "unavailable", "deadline_exceeded", "internal"]); // it may work the next time
const BY_STATUS = { 413: "too_large", 429: "overloaded", 502: "unavailable", 503: "unavailable", 504: "deadline_exceeded" };

export const UNREACHABLE = "The service cannot be reached. Check that it is running and that you are connected.";
export const CUT_OFF = "The service ended the connection before the image was sent. The image may be too large for it.";

// Return {text, detail, again} of an answer with an error: `again` is whether the same image may work later.
export async function explain(answer) {
  const problem = await answer.json().catch(() => ({}));
  const code = ADVICE[problem.code] ? problem.code : BY_STATUS[answer.status];
  const wait = answer.headers.get("Retry-After");
  const request = problem.code === "internal" ? `request ${problem.request_id}` : "";
  const details = [problem.detail, wait && `the service asks to wait ${wait} s`, request].filter(Boolean);
  return {
    text: ADVICE[code] ?? problem.title ?? "The service refused the request.",
    detail: details.map(sentence).join(" "),
    again: PASSING.has(code),
  };
}

function sentence(text) {
  return `${text[0].toUpperCase()}${text.slice(1)}${text.endsWith(".") ? "" : "."}`;
}

// Return the text for a request that got no answer: the service may be away, or may have hung up on a large image.
export async function unanswered() {
  const alive = await fetch("/livez").then((answer) => answer.ok, () => false);
  return { text: alive ? CUT_OFF : UNREACHABLE, detail: "", again: true };
}
