"""Judges what members of a share group were told against what was produced. Pure: it asks no server.

Members write histories (sharing_client.py): what they were given; which verdicts they are about to give; which of these were
confirmed, refused, or neither. A record is *over* when its acceptance or rejection was confirmed (what the group has gone past is
confirmed to whoever speaks of it, here as in Kafka: so several may be told so). `faults()` gives a sentence for
everything that the promises of a share group exclude; each begins with its kind:

    lost        a produced record was never accepted or rejected, nor delivered as often as it may be
    again       a record was given to a member that began after it was over
    doubled     a record was delivered once more, and counted so, though it was over
    worn        a record was delivered more often than it may be
    uncounted   a delivery was not counted: a member gave a record back, and it came again with no higher count
    invented    a member was given what nobody produced, or at another offset
"""
import collections
import json
import pathlib

Given = collections.namedtuple("Given", "member at deliveries")        # at: monotonic ns, when it was handed out
Verdict = collections.namedtuple("Verdict", "member at verdict deliveries heard")
# heard: when it was confirmed; None: it was refused, or nobody knows
OVER = ("accept", "reject")


class Histories:
    """All files of a run. `given` and `verdicts`: {(partition, offset): [...]}; `began`: {member: when}."""

    def __init__(self, folder):
        self.given, self.verdicts, self.values, self.began = (collections.defaultdict(list) for _ in range(4))
        for path in sorted(pathlib.Path(folder).glob("*.sharing")):
            member, last = path.stem, {}
            for line in path.read_bytes().split(b"\n")[:-1]:    # a line that a kill cut off is not there
                event = json.loads(line)
                getattr(self, f"note_{event['what']}")(member, event, last)

    def note_begins(self, member, event, _):
        self.began[member] = event["at"]

    def note_given(self, member, event, last):
        for partition, offset, value, deliveries in event["records"]:
            self.given[partition, offset].append(Given(member, event["at"], deliveries))
            self.values[partition, offset].append(value)
            last[partition, offset] = deliveries

    def note_says(self, member, event, last):
        for partition, offset, verdict in event["verdicts"]:
            self.verdicts[partition, offset].append(Verdict(member, event["at"], verdict, last[partition, offset], None))

    def note_heard(self, member, event, _):
        """Of the verdicts said last, those on these partitions hold."""
        for partition, offsets in event["confirmed"]:
            for offset in offsets:
                said = self.verdicts[partition, offset]
                said[-1] = said[-1]._replace(heard=event["at"])     # a member's file is read in one go


def ended(histories, place):
    """Confirmed acceptances and rejections of a record."""
    return [one for one in histories.verdicts.get(place, []) if one.verdict in OVER and one.heard is not None]


def said_ends(histories, place):
    """At which deliveries a record was accepted or rejected, confirmed or not."""
    return [one.deliveries for one in histories.verdicts.get(place, []) if one.verdict in OVER]


def faults(histories, sent, tried, limit):
    """`sent`: {(partition, offset): value} of what was acknowledged to its producer; `tried`: values that may be there besides."""
    found = []
    for place, value in sent.items():
        said = histories.verdicts.get(place, [])
        most = max((one.deliveries for one in histories.given.get(place, [])), default=0)
        if not any(one.verdict in OVER for one in said) and most < limit:
            found.append(f"lost: {value} at {place}, delivered {most} times, and nobody has accepted or rejected it")
    for place, given in histories.given.items():
        over = ended(histories, place)
        if over:
            end = min(one.heard for one in over)
            for one in given:
                if histories.began[one.member] > end:
                    found.append(f"again: {place} was over, and {one.member} got it, which began later")
        if over and max(said_ends(histories, place)) < max(one.deliveries for one in given) < limit:
            found.append(f"doubled: {place} was over, and came once more: {given}, {histories.verdicts[place]}")
        if max(one.deliveries for one in given) > limit:
            found.append(f"worn: {place} was delivered {max(one.deliveries for one in given)} times")
        for value in set(histories.values[place]):
            if sent.get(place, value) != value or value not in tried:
                found.append(f"invented: {value} at {place}")
        found += uncounted(histories, place)
    return found


def uncounted(histories, place):
    """What was given back on purpose and confirmed has been delivered, and the next one to get it is told so."""
    found = []
    for one in histories.verdicts.get(place, []):
        later = [given for given in histories.given[place] if one.heard is not None and histories.began[given.member] > one.heard]
        if one.verdict == "release" and later and min(given.deliveries for given in later) <= one.deliveries:
            found.append(f"uncounted: {place} was given back after delivery {one.deliveries}, and came again as no later one")
    return found


def told(histories, sent, limit):
    over = sum(bool(ended(histories, place)) for place in sent)
    several = sum(len(given) > 1 for given in histories.given.values())
    worn = sum(max(one.deliveries for one in given) >= limit for given in histories.given.values())
    return f"{len(sent)} records, {over} over as confirmed, {several} given out several times, {worn} as often as may be; {len(histories.began)} members"


# ---- outcomes of a broken log, each of which must be found ----

MUTATIONS = []


def mutation(change):
    MUTATIONS.append(change)
    return change


def over(histories, sent, chance):
    """A record that is over, and its end."""
    place = chance.choice([place for place in sent if ended(histories, place)])
    return place, ended(histories, place)[0]


@mutation
def a_record_is_given_to_nobody(histories, sent, chance, limit):
    place = chance.choice(list(sent))
    histories.given.pop(place, None), histories.verdicts.pop(place, None)
    return "lost"


@mutation
def a_record_that_was_given_back_stays_away(histories, sent, chance, limit):
    place, end = over(histories, sent, chance)
    histories.given[place] = [Given(end.member, end.at, 1)]
    histories.verdicts[place] = [end._replace(verdict="release", deliveries=1)]
    return "lost"


@mutation
def an_accepted_record_comes_again(histories, sent, chance, limit):
    place, end = over(histories, sent, chance)
    histories.began["late"] = end.heard + 1
    histories.given[place].append(Given("late", end.heard + 2, 1))
    return "again"


@mutation
def an_accepted_record_is_delivered_once_more(histories, sent, chance, limit):
    place, end = over(histories, sent, chance)
    histories.given[place] = [Given(end.member, end.at, 1), Given(end.member, end.at, 2)]
    histories.verdicts[place] = [end._replace(deliveries=1)]
    return "doubled"


@mutation
def a_record_comes_once_too_often(histories, sent, chance, limit):
    place, end = over(histories, sent, chance)
    histories.given[place].append(Given(end.member, end.at, limit + 1))
    return "worn"


@mutation
def a_delivery_is_not_counted(histories, sent, chance, limit):
    place, end = over(histories, sent, chance)
    histories.verdicts[place] = [end._replace(verdict="release", deliveries=2)]
    histories.began["late"] = end.heard + 1
    histories.given[place].append(Given("late", end.heard + 2, 2))
    return "uncounted"


@mutation
def a_record_has_another_value(histories, sent, chance, limit):
    place, _ = over(histories, sent, chance)
    histories.values[place].append("0")
    return "invented"
