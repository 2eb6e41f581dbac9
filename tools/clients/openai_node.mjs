// The stock OpenAI client of Node against a running server.
//
//     node openai_node.mjs http://127.0.0.1:8080
//
// Vectors asked for in every way must be those that /embed gives; errors must become the client's own
// classes. Exit status 1 at the first that does not.
import OpenAI from 'openai';
import { readFileSync } from 'node:fs';

const base = process.argv[2];
const texts = ['a small domesticated feline', 'instrument for measuring earthquakes', 'naïve café ☕', 'x'.repeat(3000)];

function check(what, ok) {
  if (!ok) {
    console.error(`openai (Node): ${what}`);
    process.exit(1);
  }
}

function same(a, b) {
  return a.length === b.length && a.every((x, i) => Math.abs(x - b[i]) <= 1e-7 + 1e-6 * Math.abs(b[i]));
}

async function embed(input, more = {}) {
  const reply = await fetch(`${base}/embed`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({ input, ...more }),
  });
  return (await reply.json()).embeddings;
}

async function rejects(kind, call) {
  try {
    await call();
  } catch (e) {
    check(`${kind.name} was expected, not ${e}`, e instanceof kind);
    return e;
  }
  check(`${kind.name} was expected`, false);
}

function floats(vector) {
  if (typeof vector !== 'string') return vector; // asked for by name, base64 is left to the caller
  const raw = Buffer.from(vector, 'base64');
  return Array.from({ length: raw.length / 4 }, (_, i) => raw.readFloatLE(4 * i));
}

const client = new OpenAI({ baseURL: `${base}/v1`, apiKey: 'none', maxRetries: 0 });
const want = await embed(texts);

for (const options of [{}, { encoding_format: 'float' }, { encoding_format: 'base64' }, { user: 'me' }]) {
  const got = await client.embeddings.create({ model: 'text-small', input: texts, ...options });
  const what = JSON.stringify(options);
  check(`${what}: number of vectors`, got.data.length === texts.length);
  got.data.forEach((row, i) => check(`${what}: vector ${i}`, row.index === i && same(floats(row.embedding), want[i])));
  check('model', got.model === 'text-small');
  check('usage', got.usage.prompt_tokens > 0 && got.usage.total_tokens === got.usage.prompt_tokens);
}

const one = await client.embeddings.create({ model: 'text-small@1', input: texts[0], dimensions: 64 });
check('dimensions', same(one.data[0].embedding, (await embed(texts[0], { dimensions: 64 }))[0]));

const ids = [];
for await (const model of client.models.list()) ids.push(model.id);
check('models', ids.includes('text-small'));
check('one model', (await client.models.retrieve('text-small')).owned_by === 'kindred');

let e = await rejects(OpenAI.NotFoundError, () => client.embeddings.create({ model: 'gpt', input: 'a' }));
check('code of an unknown model', e.code === 'model_not_found' && e.param === 'model');
e = await rejects(OpenAI.BadRequestError, () => client.embeddings.create({ model: 'text-small', input: '' }));
check('an empty text', e.param === 'input');
await rejects(OpenAI.BadRequestError, () => client.embeddings.create({ model: 'text-small', input: [] }));
e = await rejects(OpenAI.BadRequestError, () => client.embeddings.create({ model: 'text-small', input: [1, 2, 3] }));
check('token ids', e.message.includes('text'));
await rejects(OpenAI.BadRequestError, () => client.embeddings.create({ model: 'text-small', input: 'a', dimensions: 100000 }));
await rejects(OpenAI.NotFoundError, () => client.models.retrieve('gpt'));
const { version } = JSON.parse(readFileSync(new URL('node_modules/openai/package.json', import.meta.url)));
console.log('openai (Node)', version, 'ok');
