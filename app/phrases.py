"""The words of an offline draft, in English and in Korean."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Phrases:
    """The words of a draft in one language.

    Line breaks are not kept. `grounds` and `tests` are paragraphs, which the sections take in turn.
    """

    notice: str
    introduction: str
    remarks: str
    outline: str
    only: str
    first: str
    middle: str
    last: str
    asked: str
    unasked: str
    grounds: str
    tests: str


ENGLISH = Phrases(
    notice="""**Offline draft**: made by the writer built into Longhand, without an API key and without
Claude. It holds no research and no facts; it lays out what each section has to answer. Set
`ANTHROPIC_API_KEY` to have the same request written as a report.""",
    introduction="""This draft prepares a report on “{topic}”. It is laid out in sections, {count} in all;
each says what has to be established, in what order, and on what kind of evidence, so that whoever writes it
knows when it is done.""",
    remarks="The request adds: {remarks}",
    outline="""
## Background and question
- Why the topic matters now, and to whom
- The question this report answers, and what stays outside it
## Present state
- What is established, and by whom
- The figures that describe it, and how they have moved
## Points in dispute
- Where the sources disagree, and over what
- Who gains and who pays
## Options compared
- The courses open to those who decide
- The cost, effect and risk of each
## Conclusion
- The answer that the evidence supports
- What remains unknown""",
    only="This section is the whole report, so it has to carry the question, the evidence and the answer.",
    first="""This section is where the reader starts. It settles what has to be known about the topic at the
outset, so that “{following}” can begin without explaining it again.""",
    middle="""This section takes over what “{previous}” has settled and narrows the view to its own
question. What it finds is what “{following}” will rest on.""",
    last="""This section gathers what the report has found up to “{previous}”. It adds no new facts; it
weighs how far the evidence carries and says where judgement begins.""",
    asked="To be covered here:",
    unasked="""Only the heading of this section is given. Three questions follow from it, in this order:
what is the case, why it is so, and what would be different if it were not.""",
    grounds="""
Every figure needs its unit, its year and the body that produced it. Where two sources differ, it is not
enough to prefer the later one: the text has to explain what each of them counts.

A comparison is worth something only under like conditions. Differences in size, period and rules come
first, and only what still holds after them may serve as an argument.

Each claim has to be open to checking by itself. The evidence stands directly behind it, and where there is
a single source, the text says so.

The same fact reads differently to those who gain and those who pay. Keeping the two apart shows whether a
disagreement is about facts or about values.

A conclusion gains weight by naming its limits. Saying which further evidence would change the judgement
tells the reader when this report has to be revised.""",
    tests="""
The section is done when a reader can say what holds for “{point}”, and on whose word.

For “{point}”, the best evidence on either side comes before any verdict.

Most of the space belongs to “{point}”; what is merely likely is marked as such.

If the material on “{point}” is thin, the section says so and names what would settle it.""",
)

KOREAN = Phrases(
    notice="""**오프라인 초안**: API 키가 없어 Claude를 부르지 않고 Longhand에 내장된 작성기가 만든
글입니다. 조사한 사실은 담겨 있지 않으며, 절마다 무엇에 답해야 하는지를 정리했습니다. `ANTHROPIC_API_KEY`를
설정하면 같은 요청이 보고서로 작성됩니다.""",
    introduction="""이 초안은 ‘{topic}’에 관한 보고서를 준비하는 글입니다. 절은 모두 {count}개이며, 절마다
무엇을 어떤 순서로 밝히고 어떤 근거를 갖추어야 하는지를 적어, 언제 다 썼다고 할 수 있는지를 분명히 합니다.""",
    remarks="요청에는 다음과 같은 말이 덧붙어 있습니다: {remarks}",
    outline="""
## 배경과 물음
- 이 주제를 지금 다루는 까닭과 관련된 사람들
- 보고서가 답할 물음과 다루지 않을 범위
## 현황
- 확인된 사실과 그것을 확인한 기관
- 현황을 보여 주는 수치와 그 변화
## 쟁점
- 자료와 견해가 서로 어긋나는 지점
- 이익을 얻는 쪽과 비용을 치르는 쪽
## 대안의 비교
- 결정하는 쪽이 고를 수 있는 길
- 각각의 비용과 효과와 위험
## 결론
- 근거가 뒷받침하는 답
- 아직 알 수 없는 것""",
    only="이 보고서는 한 절로 이루어지므로, 물음과 근거와 답을 이 안에 모두 담아야 합니다.",
    first="""읽는 사람은 이 절에서 시작합니다. 주제에 관해 처음에 알아야 할 것을 여기서 밝혀 두어, 뒤에 오는
‘{following}’ 절이 같은 설명을 되풀이하지 않고 본론으로 들어가게 합니다.""",
    middle="""앞의 ‘{previous}’ 절에서 정리한 내용을 이어받아 이 절의 물음으로 시야를 좁힙니다. 여기서 얻은
답은 뒤에 오는 ‘{following}’ 절의 바탕이 됩니다.""",
    last="""마지막 절은 ‘{previous}’ 절까지 얻은 답을 한데 모읍니다. 새로운 사실을 보태지 않고, 근거가
어디까지 뒷받침하며 어디서부터 판단의 몫인지를 가립니다.""",
    asked="이 절에서 다룰 내용은 다음과 같습니다.",
    unasked="""이 절은 제목만 정해져 있습니다. 제목에서 세 가지 물음이 차례로 나옵니다. 무엇이 사실인지, 왜
그러한지, 그렇지 않았다면 무엇이 달라졌을지입니다.""",
    grounds="""
수치에는 단위와 연도, 산출한 기관이 따라야 합니다. 두 출처의 값이 다르면 더 새로운 값을 고르는 데 그치지
않고, 저마다 무엇을 세었는지를 설명합니다.

비교는 조건이 같을 때에만 뜻이 있습니다. 규모와 시기와 제도의 차이를 먼저 적고, 그 차이를 덜어 낸 뒤에도
남는 것만 논거로 삼습니다.

주장은 하나하나 따로 확인할 수 있어야 합니다. 근거를 주장 바로 뒤에 두고, 출처가 하나뿐이면 그렇다고
적습니다.

같은 사실도 이익을 얻는 쪽과 비용을 치르는 쪽에 다르게 읽힙니다. 둘을 나누어 보면 견해의 차이가 사실에 관한
것인지 가치에 관한 것인지 드러납니다.

한계를 밝힌 결론이 더 단단합니다. 어떤 근거가 더 나오면 판단이 바뀌는지를 적어 두면, 읽는 사람은 이 보고서를
언제 고쳐야 할지 알 수 있습니다.""",
    tests="""
‘{point}’에 관해 무엇이 사실이며 누구의 말에 근거하는지를 읽는 사람이 답할 수 있으면, 이 절은 다 쓴
것입니다.

‘{point}’에 관해서는 판단을 내리기 전에 양쪽의 가장 강한 근거를 먼저 보입니다.

가장 많은 지면은 ‘{point}’에 둡니다. 추정은 추정이라고 적습니다.

‘{point}’에 관한 자료가 부족하면 부족하다고 적고, 무엇이 있으면 확인되는지를 밝힙니다.""",
)
