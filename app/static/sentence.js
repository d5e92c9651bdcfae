// What a status says in words, as the server says it in the page.

/** Return the minutes left as they are told: 0 for less than one, whole ones to 10, then fives; null: not known. */
export function minutes(status, now) {
  if (!status.estimated_completion) return null;
  const seconds = (Date.parse(status.estimated_completion) - now) / 1000;
  if (seconds < 60) return 0;
  const whole = Math.round(seconds / 60);
  return whole <= 10 ? whole : Math.round(whole / 5) * 5;
}

/** Return a status's sentence, whole and for a narrow window. `left`: minutes or null. */
export function sentence(status, t, left, time) {
  let wide, narrow;
  if (status.phase === "writing") [wide, narrow] = progress(status, t, left);
  else if (status.phase !== "waiting") wide = t(`sentence_${status.phase}`);
  else wide = status.retry_at ? t("sentence_waiting", { clock: time(status.retry_at) }) : t("sentence_waiting_soon");
  if (status.attempt > 1) wide += ` ${t("attempt", { attempt: status.attempt })}`;
  return { wide, narrow };
}

function progress(status, t, left) {
  const percent = t("part_percent", { percent: status.progress_percent });
  const wide = [percent, ...sections(status, t)], narrow = [percent];
  if (left !== null) wide.push(left ? t("part_left", { minutes: left }) : t("part_left_soon"));
  if (left) narrow.push(t("part_left_short", { minutes: left }));
  return [wide.join(t("join")), narrow.join(t("join"))];
}

/** Return how many sections are done, as a list of one sentence; of none where there are no sections. */
export function sections({ sections_done: done, sections_total: total }, t) {
  return total ? [t("part_sections", { done, total })] : [];
}

/** Return what a change of the status is worth saying aloud; nothing where it is not. */
export function spoken(before, status, t) {
  const done = status.sections_done, total = status.sections_total;
  if (status.phase === "waiting" && before.phase !== "waiting") return t("speak_waiting");
  if (before.status === "queued" && status.status === "generating") return t("speak_started");
  if (total) return done > before.sections_done ? t("speak_section", { section: done, done, total }) : "";
  const quarter = Math.floor(status.progress_percent / 25);
  const reached = quarter > Math.floor(before.progress_percent / 25) && status.progress_percent < 100;
  return reached ? t("speak_percent", { percent: quarter * 25 }) : "";
}
