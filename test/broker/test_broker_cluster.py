"""What the cluster tells of its controllers and features."""
from kafka import KafkaAdminClient
from kafka.protocol.admin.cluster import DescribeQuorumRequest, UpdateFeaturesRequest

UNKNOWN_TOPIC, INVALID_UPDATE_VERSION = 3, 95


def sends(log, message):
    admin = KafkaAdminClient(bootstrap_servers=log.address)

    async def send():
        return await admin._manager.send(message)
    try:
        return admin._manager.run(send)
    finally:
        admin.close()


def quorum(log, topic, partition):
    Topic = DescribeQuorumRequest.TopicData
    answer = sends(log, DescribeQuorumRequest(topics=[
        Topic(topic_name=topic, partitions=[Topic.PartitionData(partition_index=partition)])]))
    return answer, answer.topics[0].partitions[0]


def test_one_node_leads_its_quorum(log):
    answer, told = quorum(log, "__cluster_metadata", 0)
    assert answer.error_code == 0 and told.error_code == 0
    assert told.leader_id in [voter.replica_id for voter in told.current_voters]
    assert told.leader_epoch > 0 and told.current_voters[0].log_end_offset >= told.high_watermark >= 0
    assert quorum(log, "__cluster_metadata", 1)[1].error_code == UNKNOWN_TOPIC
    assert quorum(log, log.topic(), 0)[1].error_code == UNKNOWN_TOPIC


def test_what_no_broker_has_cannot_become_a_feature(log):
    Update = UpdateFeaturesRequest.FeatureUpdateKey
    answer = sends(log, UpdateFeaturesRequest(timeout_ms=10000, validate_only=True, feature_updates=[
        Update(feature="time.travel", max_version_level=1, allow_downgrade=False, upgrade_type=1)]))
    codes = [answer.error_code] + [row.error_code for row in answer.results or []]
    assert INVALID_UPDATE_VERSION in codes
