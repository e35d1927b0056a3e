"""Compares the answers of a case that did not come out equal one by one: how many differ, and whether they differ only
where chance decides.

Arguments: the folder of corpus_runner.py, the case's folder, the file with the results. Recorded answers were taken
twice; where the two disagreed they are null. So in a group of equal queries with nulls in it, chance picks the answer:
one that comes with the share p is in both recordings with p*p. The shares are compared with that, as closely as so many
queries tell: five standard deviations, of the recorded share and of the new one together.
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


def unlike(wanted, got):
    """What shows that these are not the same answers, each as often; None when nothing does."""
    size = len(wanted)
    known = {one for one in wanted if one is not None}
    # Both recordings seldom have the minority's answer at the same place, so it may be unknown; but it is only one.
    unknown = set(got) - known
    if len(unknown) > (0 if len(known) > 1 else 1):
        return f"not recorded: {min(unknown)[:120]}"
    rare = size - max((wanted.count(one) / size) ** 0.5 for one in known) * size if known else 0
    if rare > 5 and len(set(got)) == 1:
        return f"all {size} answers are the same, {rare:.0f} others expected: {got[0][:120]}"
    for one in known:
        both, new = wanted.count(one) / size, got.count(one) / size
        share = both**0.5
        variance = share * (1 - share) / size + (1 - both) / (4 * size)
        if abs(new - share) > max(5 * variance**0.5, 0.05):
            return f"{new:.3f} of {size} answers, {share:.3f} expected: {one[:120]}"
    return None if known else "no answer was recorded twice"


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
    random, first = set(), None
    for group in groups.values():
        if len(group) >= 20 and any(wanted[i] is None for i in group):
            wrong = unlike([wanted[i] and text(wanted[i]) for i in group], [text(answers[i]) for i in group])
            if wrong is None:
                random.update(group)
            else:
                first = first or f"query {group[0]}, {queries[group[0]]['url'].split('://', 1)[1]}: {wrong}"
    if bad and first is None:
        i = bad[0]
        first = f"query {i}, {queries[i]['url'].split('://', 1)[1]}: {difference(wanted[i], answers[i] or {})}"
    print(json.dumps({"differ": len(bad), "distribution": all(i in random for i in bad), "first": first}))


main()
