// What a Go program does with a log, by franz-go and by sarama: `clients ADDRESS PREFIX franz|sarama`. Prints "told", or the
// trouble.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

var address, prefix string

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func check(so bool, format string, values ...any) {
	if !so {
		panic(fmt.Sprintf(format, values...))
	}
}

// ---- franz-go ----

func client(options ...kgo.Opt) *kgo.Client {
	all := append([]kgo.Opt{kgo.SeedBrokers(address), kgo.RecordPartitioner(kgo.RoundRobinPartitioner())}, options...)
	one, err := kgo.NewClient(all...)
	must(err)
	return one
}

func poll(ctx context.Context, from *kgo.Client, count int) map[string]bool {
	seen := map[string]bool{}
	for len(seen) < count {
		fetches := from.PollFetches(ctx)
		must(ctx.Err())
		for _, trouble := range fetches.Errors() {
			panic(trouble.Err)
		}
		fetches.EachRecord(func(record *kgo.Record) {
			value := string(record.Value)
			check(!seen[value], "%s came twice", value)
			seen[value] = true
		})
	}
	return seen
}

func franz(ctx context.Context) {
	topic, group := prefix+"franz", prefix+"franz-group"
	plain := client()
	defer plain.Close()
	admin := kadm.NewClient(plain)
	_, err := admin.CreateTopic(ctx, 3, 1, map[string]*string{"cleanup.policy": kadm.StringPtr("delete")}, topic)
	must(err)
	_, err = admin.CreateTopic(ctx, 3, 1, nil, topic)
	check(errors.Is(err, kerr.TopicAlreadyExists), "the same topic again: %v", err)
	for _, codec := range []kgo.CompressionCodec{kgo.NoCompression(), kgo.GzipCompression(), kgo.SnappyCompression(),
		kgo.Lz4Compression(), kgo.ZstdCompression()} {
		producer := client(kgo.ProducerBatchCompression(codec), kgo.DefaultProduceTopic(topic))
		for i := 0; i < 200; i++ {
			producer.Produce(ctx, kgo.KeySliceRecord([]byte("k"), []byte(fmt.Sprintf("%v-%d", codec, i))), func(_ *kgo.Record, err error) { must(err) })
		}
		must(producer.Flush(ctx))
		producer.Close()
	}

	// Two members; one leaves, and the other one goes on with all of it.
	options := []kgo.Opt{kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.SessionTimeout(6 * time.Second), kgo.HeartbeatInterval(500 * time.Millisecond), kgo.DisableAutoCommit()}
	first := client(options...)
	poll(ctx, first, 1000)
	must(first.CommitUncommittedOffsets(ctx))
	first.Close()
	offsets, err := admin.FetchOffsets(ctx, group)
	must(err)
	sum := int64(0)
	offsets.Each(func(one kadm.OffsetResponse) { sum += one.At })
	check(sum == 1000, "committed: %d", sum)

	transactional := client(kgo.TransactionalID(prefix+"franz-id"), kgo.DefaultProduceTopic(topic))
	for round := 0; round < 4; round++ {
		must(transactional.BeginTransaction())
		for i := 0; i < 50; i++ {
			transactional.Produce(ctx, kgo.StringRecord(fmt.Sprintf("round%d-%d", round, i)), nil)
		}
		must(transactional.Flush(ctx))
		must(transactional.EndTransaction(ctx, kgo.TransactionEndTry(round%2 == 0)))
	}
	transactional.Close()
	reader := client(append(options, kgo.FetchIsolationLevel(kgo.ReadCommitted()))...)
	for value := range poll(ctx, reader, 100) {
		check(strings.HasPrefix(value, "round0-") || strings.HasPrefix(value, "round2-"), "aborted, and seen: %s", value)
	}
	must(reader.CommitUncommittedOffsets(ctx))
	described, err := admin.DescribeGroups(ctx, group)
	must(err)
	check(described[group].State == "Stable" && len(described[group].Members) == 1, "the group is %+v", described[group])
	reader.Close()
	lag, err := admin.Lag(ctx, group)
	must(err)
	behind := lag[group]
	check(behind.Error() == nil && behind.Lag.Total() >= 0, "lag: %v", behind.Error())
	copier(ctx, topic)
	_, err = admin.DeleteGroups(ctx, group)
	must(err)
	_, err = admin.DeleteTopics(ctx, topic)
	must(err)
}

// A group whose offsets move in transactions.
func copier(ctx context.Context, from string) {
	to := from + "-copy"
	plain := client()
	defer plain.Close()
	_, err := kadm.NewClient(plain).CreateTopic(ctx, 2, 1, nil, to)
	must(err)
	session, err := kgo.NewGroupTransactSession(kgo.SeedBrokers(address), kgo.TransactionalID(prefix+"franz-copier"),
		kgo.ConsumerGroup(prefix+"franz-copier"), kgo.ConsumeTopics(from), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.DefaultProduceTopic(to), kgo.RequireStableFetchOffsets())
	must(err)
	copied, ends := 0, 0
	for copied < 1100 {
		fetches := session.PollRecords(ctx, 100)
		must(ctx.Err())
		must(session.Begin())
		some := 0
		fetches.EachRecord(func(record *kgo.Record) {
			session.Produce(ctx, &kgo.Record{Value: record.Value}, nil)
			some++
		})
		ends++
		committed, err := session.End(ctx, kgo.TransactionEndTry(ends != 3))
		must(err)
		if committed {
			copied += some
		}
	}
	session.Close()
	reader := client(kgo.ConsumeTopics(to), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	poll(ctx, reader, 1100)
	reader.Close()
}

// ---- sarama ----

type worker struct {
	mutex sync.Mutex
	seen  map[string]bool
	over  context.CancelFunc
	count int
}

func (*worker) Setup(sarama.ConsumerGroupSession) error   { return nil }
func (*worker) Cleanup(sarama.ConsumerGroupSession) error { return nil }
func (w *worker) ConsumeClaim(session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	for message := range claim.Messages() {
		w.mutex.Lock()
		check(!w.seen[string(message.Value)], "%s came twice", message.Value)
		w.seen[string(message.Value)] = true
		session.MarkMessage(message, "")
		if len(w.seen) == w.count {
			session.Commit()
			w.over()
		}
		w.mutex.Unlock()
	}
	return nil
}

func saramaStory(ctx context.Context) {
	for _, version := range []sarama.KafkaVersion{sarama.V0_11_0_0, sarama.V2_8_0_0, sarama.MaxVersion} {
		settings := sarama.NewConfig()
		settings.Version = version
		settings.Producer.Return.Successes = true
		settings.Producer.RequiredAcks = sarama.WaitForAll
		settings.Producer.Idempotent = true
		settings.Net.MaxOpenRequests = 1
		settings.Consumer.Offsets.Initial = sarama.OffsetOldest
		settings.Consumer.IsolationLevel = sarama.ReadCommitted
		topic, group := prefix+"sarama-"+version.String(), prefix+"sarama-group-"+version.String()
		admin, err := sarama.NewClusterAdmin([]string{address}, settings)
		must(err)
		must(admin.CreateTopic(topic, &sarama.TopicDetail{NumPartitions: 3, ReplicationFactor: 1}, false))
		count := 0
		for _, codec := range []sarama.CompressionCodec{sarama.CompressionNone, sarama.CompressionGZIP, sarama.CompressionSnappy, sarama.CompressionLZ4} {
			settings.Producer.Compression = codec
			producer, err := sarama.NewSyncProducer([]string{address}, settings)
			must(err)
			for i := 0; i < 100; i++ {
				_, _, err := producer.SendMessage(&sarama.ProducerMessage{Topic: topic, Key: sarama.StringEncoder(fmt.Sprint(i)),
					Value: sarama.StringEncoder(fmt.Sprintf("%v-%d", codec, i))})
				must(err)
				count++
			}
			must(producer.Close())
		}
		settings.Producer.Transaction.ID = topic
		transactional, err := sarama.NewSyncProducer([]string{address}, settings)
		must(err)
		for _, word := range []string{"committed", "aborted"} {
			must(transactional.BeginTxn())
			for i := 0; i < 20; i++ {
				_, _, err := transactional.SendMessage(&sarama.ProducerMessage{Topic: topic, Value: sarama.StringEncoder(fmt.Sprintf("%s%d", word, i))})
				must(err)
			}
			if word == "committed" {
				must(transactional.CommitTxn())
				count += 20
			} else {
				must(transactional.AbortTxn())
			}
		}
		must(transactional.Close())
		settings.Producer.Transaction.ID = ""
		members, err := sarama.NewConsumerGroup([]string{address}, group, settings)
		must(err)
		until, over := context.WithCancel(ctx)
		one := &worker{seen: map[string]bool{}, over: over, count: count}
		for until.Err() == nil {
			must(members.Consume(until, []string{topic}, one))
		}
		must(ctx.Err())
		must(members.Close())
		for value := range one.seen {
			check(!strings.HasPrefix(value, "aborted"), "aborted, and seen: %s", value)
		}
		offsets, err := admin.ListConsumerGroupOffsets(group, map[string][]int32{topic: {0, 1, 2}})
		must(err)
		check(offsets.GetBlock(topic, 0).Offset >= 0, "committed: %+v", offsets.Blocks)
		if version.IsAtLeast(sarama.V1_1_0_0) {
			must(admin.DeleteConsumerGroup(group))
		}
		must(admin.DeleteTopic(topic))
		must(admin.Close())
	}
}

func main() {
	address, prefix = os.Args[1], os.Args[2]
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	if os.Args[3] == "franz" {
		franz(ctx)
	} else {
		saramaStory(ctx)
	}
	fmt.Println("told")
}
