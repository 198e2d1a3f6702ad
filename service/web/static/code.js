// The lines that repeat a request from a program.
//
// A request is {address, task, model, file, sample, key, options}: `sample` is the path of a sample image on the
// service, and empty for an image of the user's own; `options` are those that the page has sliders for.

const SHOWN = {
  classify: ["predictions", "{each.label}: {each.score:.3f}"],
  segment: ["regions", "{each.label}: {each.share:.1%}"],
  detect: ["objects", "{each.label} {each.score:.2f} at {each.box}"],
};

// Return the curl command. Masks and boxes are drawn over the image, as the page does.
export function curl({ address, task, model, file, sample, key, options }) {
  const fields = [`image=@${file}`, `model=${model}`];
  const drawn = task !== "classify";
  if (drawn) fields.push("format=overlay", ...Object.entries(options).map(([name, value]) => `${name}=${value}`));
  const words = [
    ...(key ? ['-H "Authorization: Bearer $TWINS_KEY"'] : []),
    ...fields.map((field) => `-F ${quoted(field)}`),
    ...(drawn ? [`-o ${task}.png`] : []),
    `${address}/${task}`,
  ];
  const download = sample ? `curl -O ${address}${sample}\n` : "";
  return download + wrapped(["curl", ...words]);
}

// Return the Python lines, which use the package in `client/`.
export function python({ address, task, model, file, sample, key, options }) {
  const [list, format] = SHOWN[task];
  const threshold = options.threshold === undefined ? "" : `, threshold=${options.threshold}`;
  return [
    ...(key ? ["import os"] : []),
    ...(sample ? ["from urllib.request import urlopen"] : []),
    ...(key || sample ? [""] : []),
    "from twins_client import Client",
    "",
    sample ? `image = urlopen("${address}${sample}").read()` : `image = ${JSON.stringify(file)}`,
    `with Client("${address}"${key ? ', key=os.environ["TWINS_KEY"]' : ""}) as client:`,
    `    found = client.${task}(image, model="${model}"${threshold})`,
    `for each in found.${list}:`,
    `    print(f"${format}")`,
  ].join("\n");
}

// Return a text as one word of a shell command.
function quoted(text) {
  return /^[\w.\-/@=]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

// Return words as a command, broken into lines of at most 72 characters where possible.
function wrapped(words) {
  const lines = [""];
  for (const word of words) {
    const longer = lines.at(-1) + (lines.at(-1) && " ") + word;
    if (longer.length > 72 && lines.at(-1)) lines.push(`  ${word}`);
    else lines[lines.length - 1] = longer;
  }
  return lines.join(" \\\n");
}
