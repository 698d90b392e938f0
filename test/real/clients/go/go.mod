module clients

go 1.24

require (
	github.com/IBM/sarama v1.50.1
	github.com/twmb/franz-go v1.21.7
	github.com/twmb/franz-go/pkg/kadm v1.18.0
)
