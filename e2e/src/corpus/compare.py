"""Compares the answers of a case that did not come out equal one by one: how many differ, and whether they differ only
where chance decides.

Arguments: the folder of corpus_runner.py, the case's folder, the file with the results. Recorded answers were taken
twice; where the two disagreed they are null. So in a group of equal queries with nulls in it, chance picks the answer:
if a minority answer comes with the probability p, the two disagree with 2p(1-p). The shares are compared with that.
"""

import json
import sys

sys.path.insert(0, sys.argv[1])
import corpus_runner as runner  # noqa: E402


def read(path):
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def text(value):
    return json.dumps(value, sort_keys=True)


def by_chance(wanted, got):
    """Are these the same answers, each as often?"""
    size, unknown = len(wanted), sum(one is None for one in wanted)
    share = unknown / size
    minority = (1 - max(0.0, 1 - 2 * share) ** 0.5) / 2
    known = {one for one in wanted if one is not None}
    # Both recordings seldom have the minority's answer at the same place, so it may be unknown; but it is only one.
    if len(set(got) - known) > (0 if len(known) > 1 else 1):
        return False
    most = max(known, key=wanted.count, default=None)
    tolerance = max(0.1, 6 * (minority * (1 - minority) / size) ** 0.5)
    return most is not None and abs(got.count(most) / size - (1 - minority)) <= tolerance


def difference(want, got, path=""):
    if isinstance(want, dict) and isinstance(got, dict):
        for key in sorted(set(want) | set(got)):
            if key not in got:
                return f"{path}/{key} is missing"
            if key not in want:
                return f"{path}/{key} is too much"
            found = difference(want[key], got[key], f"{path}/{key}")
            if found:
                return found
        return None
    return None if want == got else f"{path}: {text(want)[:120]} expected, {text(got)[:120]} answered"


def main():
    case, result = sys.argv[2], read(sys.argv[3])
    golden = read(case + "/expected.results.json")
    queries = runner.flatten(read(case + "/queries.json"))
    answers = [runner.comparable(runner.summarise(one)) for one in result.get("results") or []]
    answers += [None] * (len(queries) - len(answers))
    wanted = [None if one is None else runner.comparable(golden["distinct"][one]) for one in golden["results"]]
    bad = [i for i, want in enumerate(wanted) if want is not None and want != answers[i]]
    groups = {}
    for i, query in enumerate(queries):
        groups.setdefault(text(query), []).append(i)
    random = {i for group in groups.values() if len(group) >= 20 and any(wanted[i] is None for i in group)
              and by_chance([wanted[i] and text(wanted[i]) for i in group], [text(answers[i]) for i in group])
              for i in group}
    first = None
    if bad:
        i = bad[0]
        first = f"query {i}, {queries[i]['url'].split('://', 1)[1]}: {difference(wanted[i], answers[i] or {})}"
    print(json.dumps({"differ": len(bad), "distribution": all(i in random for i in bad), "first": first}))


main()
