"""Words that the modules say as well as the server: states and their sentences, the connection, what is spoken.

All of them are sent with the page of a topic and the list, as JSON.
"""

ALSO = ("section_done", "section_current", "section_todo", "outline_just_saved", "sign_in", "error_404", "error_other")
"""Words of other subjects that the modules say too."""

WORDS = {
    "badge_idle": ("작성 전", "Not written"),
    "badge_queued": ("순서 대기", "Queued"),
    "badge_generating": ("쓰는 중", "Writing"),
    "badge_waiting": ("재시도 대기", "Waiting to retry"),
    "badge_completed": ("완성", "Done"),
    "badge_partial": ("일찍 끝냄", "Ended early"),
    "badge_failed": ("실패", "Failed"),
    "badge_cancelled": ("취소됨", "Cancelled"),
    "sentence_queued": (
        "차례가 오면 바로 시작해요. 이 페이지는 닫아도 돼요.",
        "Starts as soon as a place is free. You may close this page.",
    ),
    "sentence_preparing": ("보낼 내용을 준비하고 있어요.", "Getting ready."),
    "sentence_thinking": (
        "Claude가 구상하고 있어요. 그동안은 글이 나오지 않아요.",
        "Claude is thinking; no text comes meanwhile.",
    ),
    "sentence_waiting": (
        "Claude에 요청이 몰려 {clock}에 다시 시도해요. 시도 횟수에는 들어가지 않아요.",
        "Claude is busy; next try at {clock}. It does not count as an attempt.",
    ),
    "sentence_waiting_soon": (
        "Claude에 요청이 몰려 곧 다시 시도해요. 시도 횟수에는 들어가지 않아요.",
        "Claude is busy; the next try comes soon. It does not count as an attempt.",
    ),
    "sentence_saving": ("저장하고 있어요.", "Saving."),
    "sentence_completed": (
        "다 썼어요. {characters}자, {took} 걸렸어요.",
        "Done: {characters} {characters:character|characters} in {took}.",
    ),
    "sentence_partial": ("모든 절을 다 쓰지는 않았어요.", "Not every section was written."),
    "sentence_cancelled": (
        "취소했어요. {characters}자를 남겨 두었어요.",
        "Cancelled; {characters} {characters:character|characters} kept.",
    ),
    "sentence_cancelled_empty": ("취소했어요. 남긴 글은 없어요.", "Cancelled. No text was kept."),
    "sentence_finishing": (
        "여기서 마무리하고 있어요. 쓰던 절을 매듭짓고 맺음말을 붙여요.",
        "Finishing here: the section in hand is closed and an ending is written.",
    ),
    "part_percent": ("{percent}%", "{percent}%"),
    "part_sections": ("{total}개 절 중 {done}개 완료", "{done} of {total} sections done"),
    "part_left": ("약 {minutes}분 남음", "about {minutes} min left"),
    "part_left_short": ("{minutes}분", "{minutes} min"),
    "part_left_soon": ("1분 안에 끝나요", "less than a minute"),
    "join": (" · ", ", "),
    "attempt": ("{attempt}번째 시도예요.", "Attempt {attempt}."),
    "facts_characters": ("{characters}자", "{characters} {characters:character|characters}"),
    "facts_tokens": ("{tokens}토큰", "{tokens} {tokens:token|tokens}"),
    "facts_tokens_unknown": ("토큰 알 수 없음", "tokens unknown"),
    "last_text": ("마지막 글이 온 지 {seconds}초", "last text {seconds} s ago"),
    "hold": ("화면 멈추기", "Hold the text"),
    "hold_off": ("이어서 보기", "Show new text"),
    "held": ("화면을 멈췄어요", "The view is held"),
    "follow": ("따라가기", "Follow"),
    "follow_off": ("따라가기 끄기", "Stop following"),
    "go_to_new": ("새로 쓴 곳 보기", "Go to new text"),
    "copy": ("복사", "Copy"),
    "copied": ("복사했어요", "Copied"),
    "copy_failed": ("복사하지 못했어요. 내려받기를 이용해 주세요.", "It could not be copied. Download it instead."),
    "actions": ("작업", "Actions"),
    "line_lost": (
        "연결이 끊겨서 다시 연결하고 있어요. 글은 서버에서 계속 쓰고 있어요.",
        "Reconnecting. Writing goes on at the server.",
    ),
    "line_waiting": (
        "아직 연결하지 못했어요. {seconds}초 뒤에 다시 시도해요.",
        "Not connected yet. Next try in {seconds} s.",
    ),
    "line_retry": ("지금 다시 연결", "Reconnect now"),
    "line_restart": (
        "서버를 다시 시작하고 있어요. 글은 그대로 있고 곧 이어져요.",
        "The server is restarting. The text is safe and will go on.",
    ),
    "line_blocked": (
        "실시간 연결이 막혀 2초마다 확인해요.",
        "Live updates are blocked on the way; checking every 2 seconds.",
    ),
    "line_back": ("다시 연결했어요.", "Connected again."),
    "line_signed_out": (
        "로그인이 끝났어요. 다시 로그인하면 이 자리로 돌아와요.",
        "Your sign-in has ended. Sign in to come back here.",
    ),
    "line_unreachable": (
        "서버에 연결하지 못했어요. 인터넷 연결을 확인하고 다시 눌러 주세요.",
        "The server could not be reached. Check the connection and press again.",
    ),
    "already_ended": ("이미 끝났어요.", "It has already ended."),
    "news": ("새 주제 {count}개 보기", "Show {count} new {count:topic|topics}"),
    "title_writing": ("{percent}% {topic}", "{percent}% {topic}"),
    "title_completed": ("완성: {topic}", "Done: {topic}"),
    "title_failed": ("실패: {topic}", "Failed: {topic}"),
    "title_waiting": ("재시도 대기: {topic}", "Waiting to retry: {topic}"),
    "speak_started": ("쓰기 시작했어요.", "Writing has started."),
    "speak_section": (
        "{section}번째 절을 다 썼어요. {total}개 중 {done}개.",
        "Section {section} done, {done} of {total}.",
    ),
    "speak_percent": ("{percent}% 썼어요.", "{percent}% written."),
    "speak_waiting": ("Claude에 요청이 몰려 기다리고 있어요.", "Waiting: Claude is busy."),
    "speak_done": ("보고서를 다 썼어요.", "The report is done."),
    "speak_failed": ("보고서를 쓰지 못했어요.", "The report failed."),
    "speak_cancelled": ("작성을 취소했어요.", "Writing was cancelled."),
    "counter": ("{count} / {limit}자", "{count} of {limit} characters"),
    "leave": ("저장하지 않은 개요가 있어요.", "The outline is not saved."),
}
