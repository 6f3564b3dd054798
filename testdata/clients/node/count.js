// A batch job with prom-client that counts, see ../README.md.

import client from 'prom-client';

const [url, jobName, mode, ...numbers] = process.argv.slice(2);
const registry = new client.Registry();
client.collectDefaultMetrics({ register: registry }); // they say when the process started
const work = new client.Counter({ name: 'work_total', help: 'Work done.', registers: [registry] });
const gateway = new client.Pushgateway(url, {}, registry);

let before = 0;
for (const value of mode === 'once' ? numbers.slice(0, 1) : numbers) {
  work.inc(value - before);
  before = Number(value);
  await gateway.pushAdd({ jobName });
}
console.log('ok');
