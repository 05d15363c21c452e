"""Traditional Chinese messages of `instance_cli alerts`, by their English text."""

from __future__ import annotations

ALERTS = {
    "deliver alerts by DingTalk, e-mail, Telegram; show them": (
        "以釘釘、電子郵件、Telegram 發送警報；顯示警報"
    ),
    "deliver the alerts of all instances, until it is stopped": "持續發送所有實例的警報，直到停止",
    "deliver what waits, then end": "發送等待中的警報後結束",
    "send one message through every channel": "透過每個管道發送一則測試訊息",
    "show the latest alerts, and how the channels stand": "顯示最新警報與各管道狀態",
    "how many": "數量",
    "an alerter runs already (pid {pid})": "警報程式已在執行（pid {pid}）",
    "delivers from level {level} on through {names}": "發送 {level} 以上的警報，管道：{names}",
    "{name}: sent": "{name}：已送出",
    "{name}: not sent: {error}": "{name}：未送出：{error}",
    "no alert is kept": "沒有警報",
    "{name}: {pending} wait; last delivered {sent}": "{name}：{pending} 則等待中；上次送達 {sent}",
    "{name}: failed {failures} times, last at {time}: {error}": (
        "{name}：失敗 {failures} 次，最近於 {time}：{error}"
    ),
    "no alerter runs: nothing is delivered; start it: instance_cli alerts run": (
        "警報程式未執行：不會發送任何警報；啟動：instance_cli alerts run"
    ),
    "-n: was {value}, expected a number from 1 to 100000": (
        "-n：為 {value}，應為 1 至 100000 的數字"
    ),
    "{name}: {count} delivered": "{name}：已送達 {count} 則",
    "{name}: not delivered ({error}); again in {seconds:.0f} s": (
        "{name}：未送達（{error}）；{seconds:.0f} 秒後重試"
    ),
    "the fleet could not be looked at: {error}": "無法查看所有實例：{error}",
    "an alert could not be written: {error}; again soon": "警報未能寫入：{error}；稍後重試",
    "logs/alerter.json was not written: {error}": "logs/alerter.json 未能寫入：{error}",
}
