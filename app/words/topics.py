"""Words of the list of topics, and of a new one."""

WORDS = {
    "new_topic": ("새 주제", "New topic"),
    "filter": ("상태로 거르기", "Filter by state"),
    "filter_all": ("전체", "All"),
    "filter_idle": ("작성 전", "Not written"),
    "filter_queued": ("순서 대기", "Queued"),
    "filter_generating": ("쓰는 중", "Writing"),
    "filter_completed": ("완성", "Done"),
    "filter_failed": ("실패", "Failed"),
    "filter_cancelled": ("취소됨", "Cancelled"),
    "older": ("이전 주제 보기", "Show older topics"),
    "newest": ("최신 주제로", "Back to the newest"),
    "no_topics": (
        "아직 주제가 없어요. 어떤 보고서가 필요한지 적는 데서 시작해요.",
        "No topics yet. Start with what the report should be about.",
    ),
    "no_topics_here": ("이 상태인 주제가 없어요.", "No topics in this state."),
    "show_all": ("전체 보기", "Show all"),
    "deleted": ("주제를 지웠어요.", "The topic was deleted."),
    "row_created": ("{when}에 만듦", "created {when}"),
    "row_completed": ("{characters}자", "{characters} {characters:character|characters}"),
    "row_kept": ("{characters}자 남김", "{characters} {characters:character|characters} kept"),
    "row_queued": ("차례가 오면 바로 시작해요.", "Starts as soon as a place is free."),
    "row_kept_none": ("남긴 글 없음", "nothing kept"),
    "topic_label": ("주제", "Topic"),
    "topic_hint": (
        "보고서가 다룰 내용을 한 문장으로 적어 주세요. 200자까지 쓸 수 있어요.",
        "What the report is about, in one line of at most 200 characters.",
    ),
    "language_label": ("보고서의 언어", "Language of the report"),
    "outline_label": ("개요", "Outline"),
    "outline_hint": (
        "## 뒤에 절 제목을 적으면 그 순서대로 써요. 절에 담을 내용은 제목 아래에 적어요. 고치거나 비워도 돼요.",
        "A line with ## is the heading of a section; the report keeps their order. "
        "What goes into a section stands below its heading. Change it as you like, or leave it empty.",
    ),
    "outline_start": (
        """## 서론
- 이 주제가 지금 중요한 이유
- 보고서가 답할 질문

## 현황
- 믿을 만한 수치와 그 출처
- 지난 몇 년의 변화

## 쟁점과 비교
- 의견이 갈리는 지점과 각각의 근거
- 비슷한 사례와 견주어 본 결과

## 결론과 제언
- 질문에 대한 답
- 다음에 할 일""",
        """## Introduction
- Why the topic matters now
- The question this report answers

## Where things stand
- The figures that can be relied on, and their sources
- What has changed in recent years

## Points in dispute
- Where views differ, and on what grounds
- How comparable cases turned out

## Conclusions
- The answer to the question
- What to do next""",
    ),
    "save": ("저장", "Save"),
    "save_and_write": ("저장하고 쓰기", "Save and write"),
    "error_topic_missing": ("주제를 적어 주세요.", "Enter a topic."),
    "error_topic_long": (
        "주제는 200자까지 쓸 수 있어요. 지금 {count}자예요.",
        "A topic has at most 200 characters; this one has {count}.",
    ),
    "error_plan_long": (
        "개요는 100,000자까지 쓸 수 있어요. 지금 {count}자예요.",
        "An outline has at most 100,000 characters; this one has {count}.",
    ),
    "error_instructions_long": (
        "추가 요청은 4,000자까지 쓸 수 있어요. 지금 {count}자예요.",
        "Instructions have at most 4,000 characters; these have {count}.",
    ),
    "error_language": (
        "ko나 en-GB 같은 언어 태그를 적어 주세요.",
        "Enter a language tag such as ko or en-GB.",
    ),
    "error_character": (
        "쓸 수 없는 문자가 들어 있어요. 지우고 다시 저장해 주세요.",
        "There is a character in it that cannot be kept. Remove it and save again.",
    ),
    "error_model": ("고를 수 있는 모델이 아니에요.", "This model is not one of those offered."),
    "error_mode": (
        "절마다 나눠 쓰려면 개요에 ## 제목이 있어야 해요.",
        "To write section by section, the outline needs headings that begin with ##.",
    ),
}  # fmt: skip
