// A batch job with prom-client, see ../README.md. GZIP=1 compresses its pushes.

import client from 'prom-client';

const runs = ['6f1c6c1e-0b1f-4c39-9d3a-0e5f6a1b2c3d', 'b2f7d3b0-51a4-4f0e-8f43-7c1d2e3f4a5b'];

function loaded() {
  const registry = new client.Registry();
  const registers = [registry];
  const rows = new client.Counter({ name: 'rows_total', help: 'Rows loaded.', labelNames: ['table', 'run_id'], registers });
  rows.inc({ table: 'orders', run_id: runs[0] }, 3);
  rows.inc({ table: 'orders', run_id: runs[1] }, 4);
  rows.inc({ table: 'users', run_id: runs[0] }, 5);
  const seconds = new client.Histogram({ name: 'load_seconds', help: 'Time of a load.', labelNames: ['run_id'], registers });
  seconds.observe({ run_id: runs[0] }, 0.2);
  seconds.observe({ run_id: runs[0] }, 3);
  seconds.observe({ run_id: runs[1] }, 0.7);
  new client.Gauge({ name: 'last_success_timestamp_seconds', help: 'When it last went well.', registers }).set(1700000000);
  return registry;
}

function offending() {
  const registry = new client.Registry();
  new client.Gauge({ name: 'mails', help: 'Mails sent.', labelNames: ['recipient'], registers: [registry] })
    .set({ recipient: 'jane.doe@example.org' }, 1);
  return registry;
}

const [url, operation, jobName, ...labels] = process.argv.slice(2);
const groupings = Object.fromEntries(labels.map(label => label.split('=', 2)));
const options = process.env.GZIP ? { headers: { 'Content-Encoding': 'gzip' } } : {};
const gateway = new client.Pushgateway(url, options, operation === 'offend' ? offending() : loaded());
const operations = { push: 'push', add: 'pushAdd', delete: 'delete', offend: 'push' };

try {
  await gateway[operations[operation]]({ jobName, groupings });
  console.log('ok');
} catch (e) {
  console.log(`${e.name}: ${e.message}`);
  process.exitCode = 1;
}
