"""Which split of a data set a folder is called like: tools and people spell them in many ways."""

import re

SPLIT = re.compile(  # with what may stand beside: train2017, seg_train, testing_set, trainA
    r"(?:(?P<training>train(?:ing)?(?:val)?|trn)|(?P<validation>(?:mini)?val(?:id(?:ation)?)?|dev)"
    r"|(?P<test>test(?:ing)?|tst|eval(?:uation)?|holdout)|(?P<unlabelled>unlabell?ed)"
    r"|(?P<fold>fold|split|subset))"
    r"(?:set|data|images|imgs|[ab])?"
)
BESIDE_A_SPLIT = frozenset({"set", "data", "dataset", "images", "image", "imgs", "seg", "split"})


def split_called(name: str) -> str:
    """`training`, `validation`, `test`, `unlabelled`, `fold`; empty where it is called like none.

    Only a name that says nothing else is one: `train_2017`, and not `train wheels`.
    """
    words = plain(name).split()
    found = [match for word in words if (match := SPLIT.fullmatch(word))]
    if len(found) != 1 or not BESIDE_A_SPLIT.issuperset({*words} - {found[0][0]}):
        return ""
    return str(found[0].lastgroup)


def plain(name: str) -> str:
    """In lower case, without numbers and signs: `Train_2017` is `train`."""
    return " ".join(re.sub(r"[\W\d_]+", " ", name.casefold()).split())
