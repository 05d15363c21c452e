"""Traditional Chinese messages, by their English text."""

from __future__ import annotations

CATALOGUE = {
    "Instance ID": "實例ID",
    "State": "狀態",
    "PID": "PID",
    "Web port": "Web埠",
    "Config file": "設定檔",
    "Started": "啟動時間",
    "its supervisor is gone, the bot trades on; adopt it: {command}": (
        "守護行程已不在，機器人仍在交易；接管：{command}"
    ),
    "given up; see {logs}, then: {command}": "已放棄重啟；請先查看 {logs}，再執行：{command}",
    "see why: {command}": "查看原因：{command}",
    "ended without a stop (a kill, a reboot?); start it: {command}": (
        "未經停止即結束（被終止或重新開機？）；啟動：{command}"
    ),
}
