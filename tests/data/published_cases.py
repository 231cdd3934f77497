"""Rows as well-known data sets and trainers write them, one or more of each of their formats."""

from __future__ import annotations

from format_cases import CALL, Q_A, Q_B, TOOL, Case, assistant, says, system, turn, user

from assay.data.records import Comparison, Message, Response
from assay.data.strict_json import JsonObject


def rated(content: str, **ratings: float) -> Response:
    return Response((assistant(content),), ratings=ratings)


def of_model(content: str, model: str) -> Response:
    return Response((assistant(content),), tags={"model": model})


def said(role: str, value: str) -> JsonObject:
    return {"from": role, "value": value}


HELPSTEER2: JsonObject = {
    "prompt": "q",
    "response": "a",
    "helpfulness": 4,
    "correctness": 3,
    "coherence": 4,
    "complexity": 2,
    "verbosity": None,
}
HELPSTEER2_PREFERENCE: JsonObject = {
    "split": "train",
    "prompt": "q",
    "response_1": "a",
    "response_2": "b",
    "preference_strength": -2,
    "preference_statement": "Response 1 is better",
}
HELPSTEER3: JsonObject = {
    "domain": "general",
    "language": "english",
    "context": [turn("user", "q")],
    "response1": "a",
    "response2": "b",
    "overall_preference": -2,
    "individual_preference": [{"score": -2, "reasoning": "r"}],
}
HELPSTEER3_TAGS = {"domain": "general", "language": "english"}
HELPSTEER3_EXTRA: JsonObject = {"individual_preference": [{"score": -2, "reasoning": "r"}]}
ULTRAFEEDBACK: JsonObject = {
    "source": "sharegpt",
    "instruction": "q",
    "completions": [
        {
            "model": "m1",
            "principle": "honesty",
            "response": "a",
            "overall_score": 8.5,
            "fine-grained_score": 4.25,
            "annotations": {
                "helpfulness": {"Rating": "5", "Rationale": "r"},
                "honesty": {"Rating": "N/A"},
            },
        },
        {"model": "m2", "response": "b", "overall_score": 6, "annotations": None},
        {"model": "m3", "response": "c", "overall_score": 8.5, "annotations": {}},
        {"response": "d", "overall_score": None, "annotations": {"helpfulness": {"Rating": "2"}}},
    ],
}
ULTRAFEEDBACK_RESPONSES = (
    Response(
        (assistant("a"),),
        ratings={"overall_score": 8.5, "fine-grained_score": 4.25, "helpfulness": 5.0},
        tags={"model": "m1", "principle": "honesty"},
    ),
    Response((assistant("b"),), ratings={"overall_score": 6.0}, tags={"model": "m2"}),
    Response((assistant("c"),), ratings={"overall_score": 8.5}, tags={"model": "m3"}),
    Response((assistant("d"),), ratings={"helpfulness": 2.0}),
)
SHAREGPT = {"source": "sharegpt"}
WEBGPT: JsonObject = {
    "question": {"dataset": "eli5", "id": "1", "full_text": "q"},
    "quotes_0": {"title": ["t"]},
    "answer_0": "a",
    "tokens_0": {"prefix": []},
    "score_0": 0.5,
    "answer_1": "b",
    "score_1": -0.5,
}
WEBGPT_EXTRA: JsonObject = {
    "question": {"id": "1"},
    "quotes_0": {"title": ["t"]},
    "tokens_0": {"prefix": []},
}
PANDALM: JsonObject = {
    "instruction": "q",
    "input": "i",
    "response1": "a",
    "response2": "b",
    "annotator1": 1,
    "annotator2": 2,
    "annotator3": 2,
}
AUTO_J: JsonObject = {
    "prompt": "q",
    "response 1": "a",
    "response 2": "b",
    "label": 0,
    "scenario": "writing",
}
JUDGE_BENCH: JsonObject = {
    "question": "q",
    "response_A": "a",
    "response_B": "b",
    "label": "A>B",
    "source": "mmlu-pro-law",
}
SOURCE = {"source": "mmlu-pro-law"}

PUBLISHED = {
    "safe_rlhf as released now": Case(
        "safe_rlhf",
        {
            "prompt": "q",
            "response_0": "a",
            "response_1": "b",
            "prompt_source": "p",
            "response_0_source": "m0",
            "response_1_source": "m1",
            "is_response_0_safe": False,
            "is_response_1_safe": True,
            "response_0_harm_category": {"Privacy": True, "Drugs": False, "Violence": True},
            "response_1_harm_category": {"Privacy": False},
            "response_0_severity_level": 3,
            "response_1_severity_level": 0,
            "better_response_id": 1,
            "safer_response_id": 1,
            "response_0_sha256": "00",
            "response_1_sha256": "11",
        },
        (user("q"),),
        (
            Response(
                (assistant("a"),),
                ratings={"severity_level": 3.0},
                tags={"is_safe": "false", "harm_category": "Privacy, Violence", "model": "m0"},
            ),
            Response(
                (assistant("b"),),
                ratings={"severity_level": 0.0},
                tags={"is_safe": "true", "harm_category": "", "model": "m1"},
            ),
        ),
        Comparison(0, 1, "b", tags={"prompt_source": "p"}),
        extra={
            "better_response_id": 1,
            "safer_response_id": 1,
            "response_0_sha256": "00",
            "response_1_sha256": "11",
        },
    ),
    "helpsteer2, one response": Case(
        "helpsteer2",
        HELPSTEER2,
        (user("q"),),
        (rated("a", helpfulness=4.0, correctness=3.0, coherence=4.0, complexity=2.0),),
        None,
    ),
    "helpsteer2, turns inside the prompt": Case(
        "helpsteer2",
        {
            "prompt": "q1\n<extra_id_1>Assistant\na1\n<extra_id_1>User\nq2\nmore",
            "response": "a",
            "helpfulness": 0,
        },
        (user("q1"), assistant("a1"), user("q2\nmore")),
        (rated("a", helpfulness=0.0),),
        None,
    ),
    "helpsteer2_preference, below 0 the first": Case(
        "helpsteer2_preference",
        HELPSTEER2_PREFERENCE,
        (user("q"),),
        says("a", "b"),
        Comparison(0, 1, "a", margin=2.0),
        extra={"split": "train", "preference_statement": "Response 1 is better"},
    ),
    "helpsteer2_preference, above 0 the second": Case(
        "helpsteer2_preference",
        HELPSTEER2_PREFERENCE | {"preference_strength": 3},
        (user("q"),),
        says("a", "b"),
        Comparison(0, 1, "b", margin=3.0),
        extra={"split": "train", "preference_statement": "Response 1 is better"},
    ),
    "helpsteer2_preference, 0 a tie": Case(
        "helpsteer2_preference",
        HELPSTEER2_PREFERENCE | {"preference_strength": 0},
        (user("q"),),
        says("a", "b"),
        Comparison(0, 1, "tie", margin=0.0),
        extra={"split": "train", "preference_statement": "Response 1 is better"},
    ),
    "helpsteer3, below 0 the first": Case(
        "helpsteer3",
        HELPSTEER3,
        (user("q"),),
        says("a", "b"),
        Comparison(0, 1, "a", margin=2.0, tags=HELPSTEER3_TAGS),
        extra=HELPSTEER3_EXTRA,
    ),
    "helpsteer3, above 0 the second, a context of text": Case(
        "helpsteer3",
        HELPSTEER3 | {"overall_preference": 1, "context": "q"},
        (user("q"),),
        says("a", "b"),
        Comparison(0, 1, "b", margin=1.0, tags=HELPSTEER3_TAGS),
        extra=HELPSTEER3_EXTRA,
    ),
    "helpsteer3, 0 a tie, several turns": Case(
        "helpsteer3",
        HELPSTEER3 | {"overall_preference": 0, "context": [*Q_A, turn("user", "q2")]},
        (user("q"), assistant("a"), user("q2")),
        says("a", "b"),
        Comparison(0, 1, "tie", margin=0.0, tags=HELPSTEER3_TAGS),
        extra=HELPSTEER3_EXTRA,
    ),
    "ultrafeedback, raw, by the overall score": Case(
        "ultrafeedback",
        ULTRAFEEDBACK,
        (user("q"),),
        ULTRAFEEDBACK_RESPONSES,
        Comparison(0, 1, "a", margin=2.5, tags=SHAREGPT),
        more=(
            Comparison(0, 2, "tie", margin=0.0, tags=SHAREGPT),
            Comparison(1, 2, "b", margin=2.5, tags=SHAREGPT),
        ),
    ),
    "ultrafeedback, raw, by another rating": Case(
        "ultrafeedback",
        ULTRAFEEDBACK,
        (user("q"),),
        ULTRAFEEDBACK_RESPONSES,
        Comparison(0, 3, "a", margin=3.0, tags=SHAREGPT),
        label="helpfulness",
    ),
    "ultrafeedback_binarized, with a prompt": Case(
        "ultrafeedback_binarized",
        {
            "prompt": "q",
            "prompt_id": "ab12",
            "chosen": Q_A,
            "rejected": Q_B,
            "messages": Q_A,
            "score_chosen": 8.5,
            "score_rejected": 4,
        },
        (user("q"),),
        (rated("a", score=8.5), rated("b", score=4.0)),
        Comparison(0, 1, "a", margin=4.5),
        extra={"prompt_id": "ab12", "messages": Q_A},
    ),
    "ultrafeedback_binarized, without a prompt, equal scores": Case(
        "ultrafeedback_binarized",
        {"chosen": Q_A, "rejected": Q_B, "score_chosen": 6.0, "score_rejected": 6.0},
        (user("q"),),
        (rated("a", score=6.0), rated("b", score=6.0)),
        Comparison(0, 1, "tie", margin=0.0),
    ),
    "ultrafeedback_binarized, a margin of its own": Case(
        "ultrafeedback_binarized",
        {
            "prompt": "q",
            "chosen": "a",
            "rejected": "b",
            "chosen-rating": 5,
            "rejected-rating": 2,
            "margin": 1,
        },
        (user("q"),),
        (rated("a", score=5.0), rated("b", score=2.0)),
        Comparison(0, 1, "a", margin=1.0),
    ),
    "ultrafeedback_binarized, scores that contradict": Case(
        "ultrafeedback_binarized",
        {"prompt": "q", "chosen": "a", "rejected": "b", "chosen_score": 1, "rejected_score": 2},
        (user("q"),),
        (rated("a", score=1.0), rated("b", score=2.0)),
    ),
    "nectar, three answers": Case(
        "nectar",
        {
            "prompt": "\n\nHuman: q\n\nAssistant: ",
            "answers": [
                {"answer": "b", "model": "m2", "rank": 2.0},
                {"answer": "a", "model": "m1", "rank": 1.0},
                {"answer": "c", "model": "m3", "rank": 2.0},
            ],
            "turns": 1,
            "source": ["x"],
        },
        (user("q"),),
        (of_model("b", "m2"), of_model("a", "m1"), of_model("c", "m3")),
        Comparison(0, 1, "b"),
        more=(Comparison(0, 2, "tie"), Comparison(1, 2, "a")),
        rankings=(((1,), (0, 2)),),
        extra={"turns": 1, "source": ["x"]},
    ),
    "nectar, several turns": Case(
        "nectar",
        {
            "prompt": "\n\nHuman: q1\n\nAssistant: a1\n\nHuman: q2\n\nAssistant:",
            "answers": [{"answer": "a", "rank": 1}, {"answer": "b", "rank": 2}],
        },
        (user("q1"), assistant("a1"), user("q2")),
        says("a", "b"),
        rankings=(((0,), (1,)),),
    ),
    "nectar, a prompt of plain text": Case(
        "nectar",
        {"prompt": "q", "answers": [{"answer": "a", "rank": 1}, {"answer": "b", "rank": 7}]},
        (user("q"),),
        says("a", "b"),
        rankings=(((0,), (1,)),),
    ),
    "webgpt": Case(
        "webgpt",
        WEBGPT,
        (user("q"),),
        (rated("a", score=0.5), rated("b", score=-0.5)),
        Comparison(0, 1, "a", margin=1.0, tags={"dataset": "eli5"}),
        extra=WEBGPT_EXTRA,
    ),
    "webgpt, the second scores higher": Case(
        "webgpt",
        WEBGPT | {"score_0": -1, "score_1": 1},
        (user("q"),),
        (rated("a", score=-1.0), rated("b", score=1.0)),
        Comparison(0, 1, "b", margin=2.0, tags={"dataset": "eli5"}),
        extra=WEBGPT_EXTRA,
    ),
    "webgpt, a tie": Case(
        "webgpt",
        WEBGPT | {"score_0": 0.0, "score_1": 0.0, "question": "q"},
        (user("q"),),
        (rated("a", score=0.0), rated("b", score=0.0)),
        Comparison(0, 1, "tie", margin=0.0),
        extra={"quotes_0": {"title": ["t"]}, "tokens_0": {"prefix": []}},
    ),
    "stack_exchange": Case(
        "stack_exchange",
        {
            "qid": 1,
            "question": "q",
            "date": "2020/01/01",
            "metadata": ["url"],
            "response_j": "a",
            "response_k": "b",
        },
        (user("q"),),
        says("a", "b"),
        extra={"qid": 1, "date": "2020/01/01", "metadata": ["url"]},
    ),
    "llamafactory_sharegpt": Case(
        "llamafactory_sharegpt",
        {
            "conversations": [said("system", "s"), said("human", "q")],
            "chosen": said("gpt", "a"),
            "rejected": said("gpt", "b"),
            "system": "not this one",
        },
        (system("s"), user("q")),
        says("a", "b"),
    ),
    "llamafactory_sharegpt with answers of text (MedicalGPT)": Case(
        "llamafactory_sharegpt",
        {
            "conversations": [said("human", "q1"), said("gpt", "a1"), said("human", "q2")],
            "chosen": "a",
            "rejected": "b",
            "system": "s",
            "tools": "",
            "margin": 2,
        },
        (system("s"), user("q1"), assistant("a1"), user("q2")),
        says("a", "b"),
        Comparison(0, 1, "a", margin=2.0),
    ),
    "llamafactory_sharegpt with tools": Case(
        "llamafactory_sharegpt",
        {
            "conversations": [
                said("human", "1+1"),
                said("function_call", '{"name": "add", "arguments": {"a": 1}}'),
                said("observation", "2"),
            ],
            "chosen": said("gpt", "two"),
            "rejected": said("function_call", '[{"name": "add", "arguments": {"a": 1}}]'),
            "tools": '[{"name": "add"}]',
        },
        (user("1+1"), Message("assistant", "", tool_calls=(CALL,)), Message("tool", "2")),
        (
            Response((assistant("two"),)),
            Response((Message("assistant", "", tool_calls=(CALL,)),)),
        ),
        tools=(TOOL,),
    ),
    "llamafactory_sharegpt with roles and lists": Case(
        "llamafactory_sharegpt",
        {
            "conversations": [turn("user", "q")],
            "chosen": [turn("assistant", "a")],
            "rejected": [turn("assistant", "b")],
        },
        (user("q"),),
        says("a", "b"),
    ),
    "ms_swift, a rejected text": Case(
        "ms_swift",
        {"messages": Q_A, "rejected_response": "b", "margin": 1, "channel": "x"},
        (user("q"),),
        says("a", "b"),
        Comparison(0, 1, "a", margin=1.0),
        extra={"channel": "x"},
    ),
    "ms_swift, a text replaces the last turn alone": Case(
        "ms_swift",
        {
            "messages": [
                turn("user", "q"),
                {"role": "assistant", "tool_calls": [CALL]},
                turn("tool", "2"),
                turn("assistant", "a"),
            ],
            "rejected_response": "b",
            "tools": [TOOL],
            "system": "s",
        },
        (
            system("s"),
            user("q"),
            Message("assistant", "", tool_calls=(CALL,)),
            Message("tool", "2"),
        ),
        says("a", "b"),
        tools=(TOOL,),
    ),
    "ms_swift, rejected turns replace all behind the user": Case(
        "ms_swift",
        {
            "messages": [
                turn("system", "s"),
                turn("user", "q"),
                {"role": "assistant", "tool_calls": [CALL]},
                turn("tool", "2"),
                turn("assistant", "a"),
            ],
            "rejected_response": [turn("assistant", "b")],
        },
        (system("s"), user("q")),
        (
            Response(
                (
                    Message("assistant", "", tool_calls=(CALL,)),
                    Message("tool", "2"),
                    assistant("a"),
                )
            ),
            Response((assistant("b"),)),
        ),
    ),
    "ms_swift, a whole rejected conversation": Case(
        "ms_swift",
        {"messages": Q_A, "rejected_messages": Q_B, "rejected_response": None},
        (user("q"),),
        says("a", "b"),
    ),
    "nemo_rl": Case(
        "nemo_rl",
        {
            "context": [turn("user", "q")],
            "completions": [
                {"rank": 0, "completion": [turn("assistant", "a")], "reward": 2},
                {"rank": 1, "completion": [turn("assistant", "b")]},
                {"rank": 1, "completion": [turn("assistant", "c")]},
            ],
            "task_name": "x",
        },
        (user("q"),),
        (rated("a", reward=2.0), *says("b", "c")),
        more=(Comparison(0, 2, "a"), Comparison(1, 2, "tie")),
        rankings=(((0,), (1, 2)),),
        extra={"task_name": "x"},
    ),
    "trl, turns in the prompt's text (DeepSpeed-Chat)": Case(
        "trl",
        {
            "prompt": "\n\nHuman: q1\n\nAssistant: a1\n\nHuman: q2\n\nAssistant:",
            "response": " a",
            "chosen": " a",
            "rejected": " b",
        },
        (user("q1"), assistant("a1"), user("q2")),
        says(" a", " b"),
        extra={"response": " a"},
    ),
    "trl_unpaired, turns in the prompt's text": Case(
        "trl_unpaired",
        {"prompt": "\n\nHuman: q\n\nAssistant:", "completion": " a", "label": True},
        (user("q"),),
        (rated(" a", label=1.0),),
        None,
    ),
    "responses to turns in the prompt's text": Case(
        "responses",
        {"prompt": "\n\nHuman: q\n\nAssistant:", "response": " a"},
        (user("q"),),
        says(" a"),
        None,
    ),
    "trl_unpaired, good": Case(
        "trl_unpaired",
        {"prompt": "q", "completion": "a", "label": True, "id": 1},
        (user("q"),),
        (rated("a", label=1.0),),
        None,
        extra={"id": 1},
    ),
    "trl_unpaired, bad, as messages": Case(
        "trl_unpaired",
        {
            "prompt": [turn("user", "q")],
            "completion": [turn("assistant", "b")],
            "label": False,
        },
        (user("q"),),
        (rated("b", label=0.0),),
        None,
    ),
    "llamafactory_alpaca": Case(
        "llamafactory_alpaca",
        {"instruction": "q", "input": "", "chosen": "a", "rejected": "b", "id": 1},
        (user("q"),),
        says("a", "b"),
        extra={"id": 1},
    ),
    "llamafactory_alpaca with all its fields": Case(
        "llamafactory_alpaca",
        {
            "instruction": "q",
            "input": "more",
            "system": "s",
            "history": [["q1", "a1"], ["q2", "a2"]],
            "tools": [TOOL],
            "chosen": "a",
            "rejected": "b",
        },
        (
            system("s"),
            user("q1"),
            assistant("a1"),
            user("q2"),
            assistant("a2"),
            user("q\nmore"),
        ),
        says("a", "b"),
        tools=(TOOL,),
    ),
    "axolotl": Case(
        "axolotl",
        {"system": None, "input": "q", "chosen": "a", "rejected": "b"},
        (user("q"),),
        says("a", "b"),
    ),
    "axolotl with a system message": Case(
        "axolotl",
        {"system": "s", "input": "q", "chosen": "a", "rejected": "b"},
        (system("s"), user("q")),
        says("a", "b"),
    ),
    "trl, whatever stands in a field input": Case(
        "trl",
        {"prompt": "q", "input": "x", "chosen": "a", "rejected": "b"},
        (user("q"),),
        says("a", "b"),
        extra={"input": "x"},
    ),
    "axolotl, a column prompt that is empty": Case(
        "axolotl",
        {"prompt": None, "input": "q", "chosen": "a", "rejected": "b"},
        (user("q"),),
        says("a", "b"),
        extra={"prompt": None},
    ),
    "axolotl, RewardBench's input and conversations": Case(
        "axolotl",
        {"input": "q", "chosen": Q_A, "rejected": Q_B, "subset": "x"},
        (user("q"),),
        says("a", "b"),
        Comparison(0, 1, "a", tags={"subset": "x"}),
    ),
    "align_anything": Case(
        "align_anything",
        {"question": "q", "response_1": "a", "response_2": "b", "overall_response": 2},
        (user("q"),),
        says("a", "b"),
        Comparison(0, 1, "b"),
    ),
    "align_anything, a prompt, the first is better": Case(
        "align_anything",
        {"prompt": "q", "response_1": "a", "response_2": "b", "overall_response": 1, "id": 1},
        (user("q"),),
        says("a", "b"),
        extra={"id": 1},
    ),
    "pandalm, the majority": Case(
        "pandalm",
        PANDALM,
        (user("q\ni"),),
        says("a", "b"),
        Comparison(0, 1, "b"),
        extra={"annotator1": 1, "annotator2": 2, "annotator3": 2},
    ),
    "pandalm, all say something else": Case(
        "pandalm",
        PANDALM | {"input": "", "annotator3": 0},
        (user("q"),),
        says("a", "b"),
        Comparison(0, 1, "tie"),
        extra={"annotator1": 1, "annotator2": 2, "annotator3": 0},
    ),
    "pandalm, the majority says tie": Case(
        "pandalm",
        PANDALM | {"annotator2": 0, "annotator3": 0},
        (user("q\ni"),),
        says("a", "b"),
        Comparison(0, 1, "tie"),
        extra={"annotator1": 1, "annotator2": 0, "annotator3": 0},
    ),
    "auto_j, the first": Case(
        "auto_j",
        AUTO_J,
        (user("q"),),
        says("a", "b"),
        Comparison(0, 1, "a", tags={"scenario": "writing"}),
    ),
    "auto_j, the second": Case(
        "auto_j",
        AUTO_J | {"label": 1},
        (user("q"),),
        says("a", "b"),
        Comparison(0, 1, "b", tags={"scenario": "writing"}),
    ),
    "auto_j, a tie": Case(
        "auto_j",
        AUTO_J | {"label": 2},
        (user("q"),),
        says("a", "b"),
        Comparison(0, 1, "tie", tags={"scenario": "writing"}),
    ),
    "judge_bench, A": Case(
        "judge_bench",
        JUDGE_BENCH | {"pair_id": "p"},
        (user("q"),),
        says("a", "b"),
        Comparison(0, 1, "a", tags=SOURCE),
        extra={"pair_id": "p"},
    ),
    "judge_bench, B": Case(
        "judge_bench",
        JUDGE_BENCH | {"label": "B>A"},
        (user("q"),),
        says("a", "b"),
        Comparison(0, 1, "b", tags=SOURCE),
    ),
    "judge_bench, a tie": Case(
        "judge_bench",
        JUDGE_BENCH | {"label": "A=B"},
        (user("q"),),
        says("a", "b"),
        Comparison(0, 1, "tie", tags=SOURCE),
    ),
    "llmbar, 1": Case(
        "llmbar",
        {"input": "q", "output_1": "a", "output_2": "b", "label": 1},
        (user("q"),),
        says("a", "b"),
    ),
    "llmbar, 2": Case(
        "llmbar",
        {"input": "q", "output_1": "a", "output_2": "b", "label": 2},
        (user("q"),),
        says("a", "b"),
        Comparison(0, 1, "b"),
    ),
    "rmb_pairs": Case(
        "rmb_pairs",
        {
            "pair_uid": "u",
            "category_path": "Helpfulness/Chat",
            "conversation_input": [
                turn("user", "q1") | {"language": "English"},
                turn("assistant", "a1"),
                turn("user", "q2"),
            ],
            "chosen": {"llm_name": "m1", "answer": "a"},
            "reject": {"llm_name": "m2", "answer": "b"},
        },
        (user("q1"), assistant("a1"), user("q2")),
        (of_model("a", "m1"), of_model("b", "m2")),
        Comparison(0, 1, "a", tags={"category_path": "Helpfulness/Chat"}),
        extra={"pair_uid": "u"},
    ),
    "rmb_bon": Case(
        "rmb_bon",
        {
            "bon_uid": "u",
            "conversation_input": [turn("user", "q")],
            "bon_best": {"llm_name": "m1", "answer": "a"},
            "loser_list": [{"answer": "b"}, {"llm_name": "m3", "answer": "c"}],
        },
        (user("q"),),
        (of_model("a", "m1"), *says("b"), of_model("c", "m3")),
        more=(Comparison(0, 2, "a"),),
        extra={"bon_uid": "u"},
    ),
    "rewardbench2": Case(
        "rewardbench2",
        {
            "id": "tied:1",
            "prompt": "q",
            "chosen": ["a", "b"],
            "rejected": ["c"],
            "num_correct": 2,
            "total_completions": 3,
            "subset": "Ties",
        },
        (user("q"),),
        says("a", "b", "c"),
        Comparison(0, 2, "a", tags={"subset": "Ties"}),
        more=(Comparison(1, 2, "a", tags={"subset": "Ties"}),),
        extra={"id": "tied:1", "num_correct": 2, "total_completions": 3},
    ),
    "rm_bench": Case(
        "rm_bench",
        {"id": "m-1", "prompt": "q", "chosen": ["a", "b", "c"], "rejected": ["d", "e", "f"]},
        (user("q"),),
        says("a", "b", "c", "d", "e", "f"),
        Comparison(0, 3, "a", tags={"chosen_style": "0", "rejected_style": "0"}),
        more=tuple(
            Comparison(a, b, "a", tags={"chosen_style": better, "rejected_style": worse})
            for a, b, better, worse in [
                (0, 4, "0", "1"),
                (0, 5, "0", "2"),
                (1, 3, "1", "0"),
                (1, 4, "1", "1"),
                (1, 5, "1", "2"),
                (2, 3, "2", "0"),
                (2, 4, "2", "1"),
                (2, 5, "2", "2"),
            ]
        ),
        extra={"id": "m-1"},
    ),
    "rewardbench": Case(
        "rewardbench",
        {
            "prompt": "q",
            "chosen": "a",
            "chosen_model": "m1",
            "rejected": "b",
            "rejected_model": "m2",
            "subset": "alpacaeval-easy",
            "id": 1,
        },
        (user("q"),),
        (of_model("a", "m1"), of_model("b", "m2")),
        Comparison(0, 1, "a", tags={"subset": "alpacaeval-easy"}),
        extra={"id": 1},
    ),
    "rewardbench, a question with a system message": Case(
        "rewardbench",
        {"system": "s", "question": "q", "chosen": "a", "rejected": "b"},
        (system("s"), user("q")),
        says("a", "b"),
    ),
    "rewardbench, whole conversations": Case(
        "rewardbench",
        {"chosen": Q_A, "rejected": Q_B, "subset": "x"},
        (user("q"),),
        says("a", "b"),
        Comparison(0, 1, "a", tags={"subset": "x"}),
    ),
    "trl, a prompt that the answers repeat, with its source (Tulu 3)": Case(
        "trl",
        {"id": "x", "prompt": "q", "chosen": Q_A, "rejected": Q_B, "source": "y"},
        (user("q"),),
        says("a", "b"),
        Comparison(0, 1, "a", tags={"source": "y"}),
        extra={"id": "x"},
    ),
    "trl, whole conversations with a margin (OpenRLHF)": Case(
        "trl",
        {"chosen": Q_A, "rejected": Q_B, "margin": 1},
        (user("q"),),
        says("a", "b"),
        Comparison(0, 1, "a", margin=1.0),
    ),
}
"""By name; the rows of one format that differ in one thing stand beside each other."""

STEPWISE: JsonObject = {"prompt": "q", "completions": ["a", "b"], "labels": [True, False]}
TOKENIZED: JsonObject = {"chosen_ids": [1, 2], "rejected_ids": [1, 3]}
RATED_PAIR = (
    HELPSTEER2,
    HELPSTEER2 | {"response": "b", "helpfulness": 1, "correctness": 3, "verbosity": 2},
)
"""Two rows of one prompt: helpfulness 4 and 1, correctness 3 and 3, verbosity none and 2."""
