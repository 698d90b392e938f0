// What a Node program does with a log, by kafkajs: `node kafkajs.js ADDRESS PREFIX`. Prints "told", or the trouble.
const assert = require('assert')
const { Kafka, CompressionTypes, logLevel, ConfigResourceTypes } = require('kafkajs')
const [address, prefix] = process.argv.slice(2)
const kafka = new Kafka({ clientId: 'story', brokers: [address], logLevel: logLevel.ERROR })

async function take (topic, group, count) {
  const consumer = kafka.consumer({ groupId: group, sessionTimeout: 6000, heartbeatInterval: 500 })
  const found = []
  await consumer.connect()
  await consumer.subscribe({ topic, fromBeginning: true })
  await new Promise((resolve, reject) => {
    const patience = setTimeout(() => reject(new Error(`only ${found.length} of ${count}`)), 60000)
    consumer.run({
      eachMessage: async ({ message }) => {
        found.push(message)
        if (found.length === count) { clearTimeout(patience); resolve() }
      }
    })
  })
  await consumer.disconnect()
  return found
}

async function main () {
  const admin = kafka.admin()
  await admin.connect()
  const topic = prefix + 'kafkajs'
  await admin.createTopics({ topics: [{ topic, numPartitions: 3, configEntries: [{ name: 'retention.ms', value: '3600000' }] }] })
  const metadata = await admin.fetchTopicMetadata({ topics: [topic] })
  assert.strictEqual(metadata.topics[0].partitions.length, 3)
  const configs = await admin.describeConfigs({ includeSynonyms: false, resources: [{ type: ConfigResourceTypes.TOPIC, name: topic }] })
  assert.strictEqual(configs.resources[0].configEntries.find(entry => entry.configName === 'retention.ms').configValue, '3600000')

  const producer = kafka.producer({ idempotent: true, maxInFlightRequests: 1 })
  await producer.connect()
  for (const compression of [CompressionTypes.None, CompressionTypes.GZIP]) {
    const messages = Array.from({ length: 300 }, (_, i) => ({ key: `k${i}`, value: `${compression}-${i}`, headers: { n: `${i}` } }))
    await producer.send({ topic, acks: -1, compression, messages })
  }
  await producer.disconnect()
  const found = await take(topic, prefix + 'kafkajs-group', 600)
  assert.strictEqual(new Set(found.map(message => message.value.toString())).size, 600)
  assert.ok(found.every(message => message.headers.n.toString() === message.value.toString().split('-')[1]))

  const offsets = await admin.fetchOffsets({ groupId: prefix + 'kafkajs-group', topics: [topic] })
  assert.strictEqual(offsets[0].partitions.reduce((sum, one) => sum + Number(one.offset), 0), 600)
  const ends = await admin.fetchTopicOffsets(topic)
  assert.strictEqual(ends.reduce((sum, one) => sum + Number(one.high), 0), 600)

  const transactional = kafka.producer({ transactionalId: prefix + 'kafkajs-id', idempotent: true, maxInFlightRequests: 1 })
  await transactional.connect()
  for (const round of ['committed', 'aborted', 'again']) {
    const transaction = await transactional.transaction()
    await transaction.send({ topic, messages: Array.from({ length: 10 }, (_, i) => ({ key: 't', value: `${round}${i}` })) })
    if (round === 'aborted') await transaction.abort()
    else await transaction.commit()
  }
  await transactional.disconnect()
  const committed = await take(topic, prefix + 'kafkajs-after', 620)    // kafkajs reads what is committed by default
  assert.ok(committed.every(message => !message.value.toString().startsWith('aborted')))
  const groups = await admin.describeGroups([prefix + 'kafkajs-after'])
  assert.strictEqual(groups.groups[0].state, 'Empty')
  await admin.deleteGroups([prefix + 'kafkajs-after'])
  await admin.deleteTopics({ topics: [topic] })
  await admin.disconnect()
  console.log('told')
}

main().catch(trouble => { console.error(trouble); process.exit(1) })
