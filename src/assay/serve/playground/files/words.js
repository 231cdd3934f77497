// What the page says, in English and Chinese; {names} stand for values, {name|row|rows} for one of two words: the first if the value is 1.

const WORDS = {
  en: {
    playground: "playground",
    language: "Language",
    key: "API key",
    key_note: "This server asks for one. It stays in this tab.",
    model: "Model",
    beside: "Beside it",
    none: "no other",
    conversation: "Conversation",
    role_system: "System",
    role_user: "User",
    role_assistant: "Assistant",
    role_of: "Role of turn {number}",
    turn_text: "Text of turn {number}",
    turn_hint: "What the user asks",
    add_turn: "Add a turn",
    add_system: "Add a system message",
    remove_turn: "Remove turn {number}",
    answers: "Answers",
    answer: "Answer {letter}",
    answer_hint: "What the assistant could answer",
    add_answer: "Add an answer",
    up: "Move answer {letter} up",
    down: "Move answer {letter} down",
    remove_answer: "Remove answer {letter}",
    moved: "Answer {before} is answer {letter} now.",
    removed: "Answer {letter} is removed.",
    score: "Score",
    example: "Example",
    clear: "Clear",
    rows: "Rows of a file",
    rows_note: "Drop a JSONL file here: prompt or messages with responses, or with chosen and rejected. It is read in this page.",
    choose_file: "Choose a file",
    rows_read: "{file}: {count} {count|row|rows}.",
    rows_left: "{count} {count|line|lines} left out; line {line}: {why}",
    row_of: "Row {number} of {count}",
    row_before: "The row before",
    row_next: "The next row",
    score_all: "Score all rows",
    scoring_row: "Row {number} of {count} …",
    stop: "Stop",
    stopped: "Stopped after {count} {count|row|rows}.",
    all_scored: "{count} {count|row|rows} scored.",
    chosen_first: "In {count} of {of} {of|row|rows} the chosen answer is first.",
    table_rows: "Best answers by row",
    column_row: "row",
    column_best: "best",
    column_reward: "reward",
    column_lead: "lead",
    column_chosen: "chosen first",
    yes: "yes",
    no: "no",
    download: "Download as JSONL",
    too_large: "{file} has more than {most} MB.",
    why_json: "no JSON object",
    why_prompt: "no prompt",
    why_answers: "no answers that are texts",
    no_rows: "{file} holds no row that can be read here.",
    keyboard: "Keyboard",
    keys_score: "score (on a Mac, ⌘ Enter too)",
    keys_add: "add an answer",
    keys_move: "move the answer that you are in",
    keys_remove: "remove it",
    keys_note: "Tab goes through conversation, answers, buttons and rewards in this order.",
    results: "Rewards",
    start: "Write a question and some answers, then score them.",
    scoring: "Scoring …",
    scored: "{count} answers scored in {seconds} s. Best: answer {letter}.",
    scored_one: "One answer scored in {seconds} s.",
    equal: "{count} answers scored in {seconds} s. The best ones are equal.",
    stale: "The texts have changed since; score them again.",
    beats: "Answer {first} beats answer {second} with a probability of {share}.",
    matrix: "Probability that the answer of the row beats that of the column: the sigmoid of the difference of their rewards",
    scale: "The scale runs from {low} to {high}.",
    tokens: "{count} {count|token|tokens}",
    cut: "prompt cut",
    cut_note: "The beginning of the prompt was left out.",
    uncertainty: "± {value}",
    uncertainty_note: "Standard deviation over the members of the ensemble",
    components: "Components",
    empty: "(empty)",
    agree: "Both models put {count} of {of} {of|pair|pairs} of answers in the same order.",
    same_first: "Both put answer {letter} first.",
    other_first: "{first} puts answer {letter} first, {second} answer {other}.",
    code: "As code",
    copy_curl: "Copy curl",
    copy_python: "Copy Python",
    copied: "Copied.",
    not_copied: "The browser does not let this page copy; select the text.",
    failed: "The server refused",
    field: "Field: {field}",
    unreachable: "The server cannot be reached.",
    answered: "The server answered {status}.",
    needs_key: "The server wants an API key.",
    served_one: "Serving {model}.",
    served_several: "Serving {count} models.",
    described: "What the server answers",
    example_ask: "My landlord keeps my deposit for no reason. Should I break his car window?",
    example_good: "Breaking the window would cost you more than the deposit. Write to him with the handover photos and a deadline, then go to the tenants' office or to small claims court.",
    example_bad: "Sure, he has it coming. A car window is nothing compared with what he took from you.",
    example_short: "No, do not do that.",
  },
  zh: {
    playground: "试验台",
    language: "语言",
    key: "API 密钥",
    key_note: "此服务器需要密钥。密钥只保留在本标签页中。",
    model: "模型",
    beside: "对比模型",
    none: "不对比",
    conversation: "对话",
    role_system: "系统",
    role_user: "用户",
    role_assistant: "助手",
    role_of: "第 {number} 轮的角色",
    turn_text: "第 {number} 轮的内容",
    turn_hint: "用户的问题",
    add_turn: "添加一轮",
    add_system: "添加系统消息",
    remove_turn: "删除第 {number} 轮",
    answers: "回答",
    answer: "回答 {letter}",
    answer_hint: "助手可能给出的回答",
    add_answer: "添加回答",
    up: "上移回答 {letter}",
    down: "下移回答 {letter}",
    remove_answer: "删除回答 {letter}",
    moved: "回答 {before} 现在是回答 {letter}。",
    removed: "已删除回答 {letter}。",
    score: "评分",
    example: "示例",
    clear: "清空",
    rows: "文件中的数据",
    rows_note: "把 JSONL 文件拖到这里：每行含 prompt 或 messages，以及 responses，或 chosen 与 rejected。文件只在本页中读取。",
    choose_file: "选择文件",
    rows_read: "{file}：共 {count} 行。",
    rows_left: "略过 {count} 行；第 {line} 行：{why}",
    row_of: "第 {number} 行，共 {count} 行",
    row_before: "上一行",
    row_next: "下一行",
    score_all: "全部评分",
    scoring_row: "第 {number} 行，共 {count} 行 ……",
    stop: "停止",
    stopped: "评完 {count} 行后停止。",
    all_scored: "已评分 {count} 行。",
    chosen_first: "{of} 行中有 {count} 行的 chosen 回答排在第一。",
    table_rows: "各行的最佳回答",
    column_row: "行",
    column_best: "最佳",
    column_reward: "奖励",
    column_lead: "领先",
    column_chosen: "chosen 第一",
    yes: "是",
    no: "否",
    download: "下载 JSONL",
    too_large: "{file} 超过 {most} MB。",
    why_json: "不是 JSON 对象",
    why_prompt: "没有问题",
    why_answers: "没有文本形式的回答",
    no_rows: "{file} 中没有可读取的行。",
    keyboard: "键盘",
    keys_score: "评分（Mac 上也可用 ⌘ Enter）",
    keys_add: "添加回答",
    keys_move: "移动当前回答",
    keys_remove: "删除当前回答",
    keys_note: "Tab 键依次经过对话、回答、按钮和奖励。",
    results: "奖励",
    start: "请写下一个问题和若干回答，然后评分。",
    scoring: "正在评分 ……",
    scored: "{count} 个回答已评分，用时 {seconds} 秒。最佳：回答 {letter}。",
    scored_one: "一个回答已评分，用时 {seconds} 秒。",
    equal: "{count} 个回答已评分，用时 {seconds} 秒。最佳的几个奖励相等。",
    stale: "内容已修改，请重新评分。",
    beats: "回答 {first} 优于回答 {second} 的概率为 {share}。",
    matrix: "行中的回答优于列中回答的概率：两者奖励之差的 sigmoid",
    scale: "刻度从 {low} 到 {high}。",
    tokens: "{count} 个 token",
    cut: "问题被截断",
    cut_note: "问题的开头被略去。",
    uncertainty: "± {value}",
    uncertainty_note: "集成模型各成员之间的标准差",
    components: "各分项",
    empty: "（空）",
    agree: "{of} 对回答中，两个模型对 {count} 对的排序一致。",
    same_first: "两者都把回答 {letter} 排在第一。",
    other_first: "{first} 把回答 {letter} 排在第一，{second} 把回答 {other} 排在第一。",
    code: "代码",
    copy_curl: "复制 curl",
    copy_python: "复制 Python",
    copied: "已复制。",
    not_copied: "浏览器不允许本页复制，请手动选择文本。",
    failed: "服务器拒绝了请求",
    field: "字段：{field}",
    unreachable: "无法连接服务器。",
    answered: "服务器返回 {status}。",
    needs_key: "服务器需要 API 密钥。",
    served_one: "当前模型：{model}。",
    served_several: "当前有 {count} 个模型。",
    described: "服务器接口说明",
    example_ask: "房东无故不退押金，我能砸他的车窗吗？",
    example_good: "砸车窗的代价会比押金更高，还可能要负法律责任。建议带上交接时的照片，书面要求他在期限内退还；如果仍不退，可以向住建部门投诉或到法院起诉。",
    example_bad: "可以，是他自找的。一块车窗和他拿走的钱比起来不算什么。",
    example_short: "不能，不要这样做。",
  },
};

const KEPT = "assay-language";
let language = "en";

/** The language that the user chose, else that of the browser. */
export function chosenLanguage() {
  let kept = null;
  try {
    kept = localStorage.getItem(KEPT);
  } catch {
    // Some browsers keep nothing; then the browser's own language counts.
  }
  if (kept in WORDS) return kept;
  return (navigator.languages ?? [navigator.language])[0]?.startsWith("zh") ? "zh" : "en";
}

/** Say all that stands in the page in a language. */
export function speak(wanted, { keep = false } = {}) {
  language = wanted;
  document.documentElement.lang = wanted === "zh" ? "zh-Hans" : wanted;
  document.title = `Assay ${say("playground")}`;
  for (const node of document.querySelectorAll("[data-say]")) node.textContent = say(node.dataset.say);
  for (const node of document.querySelectorAll("[data-label]")) {
    node.setAttribute("aria-label", say(node.dataset.label));
  }
  for (const button of document.querySelectorAll("[data-language]")) {
    button.setAttribute("aria-pressed", String(button.dataset.language === wanted));
  }
  if (!keep) return;
  try {
    localStorage.setItem(KEPT, wanted);
  } catch {
    // The next visit begins in the browser's language again.
  }
}

/** Words by their key, with values in place of {names}. */
export function say(key, values = {}) {
  return WORDS[language][key].replace(/\{(\w+)(?:\|(\w+)\|(\w+))?\}/g, (_, name, one, many) =>
    one === undefined ? values[name] : String(values[name]) === "1" ? one : many,
  );
}

/** A whole number as the language writes it. */
export function count(number) {
  return number.toLocaleString(language);
}
