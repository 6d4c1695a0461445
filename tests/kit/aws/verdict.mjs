// Judges requests by policies, as @cloud-copilot/iam-simulate does, which knows nothing of Leasehold. LEASEHOLD_IAM_SIMULATE is
// the folder that it is installed in. Standard input: an array of its simulations. Standard output: an array of verdicts.
// What it finds wrong with a simulation, and a context key that it leaves aside, ends this with an error: a verdict on something
// else than what was asked would be worse than none.
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'

const require = createRequire(join(process.env.LEASEHOLD_IAM_SIMULATE, 'package.json'))
const { runSimulation } = require('@cloud-copilot/iam-simulate')

const verdicts = []
for (const simulation of JSON.parse(readFileSync(0, 'utf8'))) {
  const said = await runSimulation(simulation, { simulationMode: 'Strict' })
  const asked = JSON.stringify(simulation.request)
  if (said.resultType === 'error') throw new Error(`${JSON.stringify(said.errors)} of ${asked}`)
  const results = said.resultType === 'single' ? [said.result] : said.results
  const ignored = results.flatMap((result) => result.ignoredContextKeys ?? [])
  if (ignored.length > 0) throw new Error(`the context keys ${ignored} do not belong to ${asked}`)
  verdicts.push(said.overallResult)
}
process.stdout.write(JSON.stringify(verdicts))
