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
    # instance_cli
    "error: {error}": "錯誤：{error}",
    "no instance runs; start one: daemon_manager start --config FILE": (
        "沒有執行中的實例；啟動：daemon_manager start --config FILE"
    ),
    "{count} more have ended: list --all shows them": "另有 {count} 個已結束：list --all 可顯示",
    "would remove {count} dead instances{names}": "將移除 {count} 個已停止的實例{names}",
    "removed {count} dead instances{names}": "已移除 {count} 個已停止的實例{names}",
    "kept for `daemon_manager resurrect`: {names}": "保留給 `daemon_manager resurrect`：{names}",
    "no instance is registered": "尚無已登記的實例",
    "--watch repeats a table; --json is one value: choose one": (
        "--watch 會重複顯示表格，--json 只輸出一個值：請擇一"
    ),
    "Look at the instances; daemon_manager starts and stops them.": (
        "檢視實例；啟動與停止請用 daemon_manager。"
    ),
    "where config/, logs/ and database/ are": "config/、logs/、database/ 所在目錄",
    "print one JSON value, messages beside it": "輸出一個 JSON 值，訊息另行輸出",
    "show what runs, and what gave up": "顯示執行中與已放棄重啟的實例",
    "also what has ended": "包含已結束的實例",
    "again every second": "每秒更新",
    "remove the records of dead instances": "移除已停止實例的記錄",
    "only say what would be removed": "只顯示將被移除的項目",
    "show all that is known of one instance": "顯示單一實例的所有資訊",
    "show trading figures and what the processes use": "顯示交易數據與行程資源用量",
    "run the engine over a CSV of candles": "以 K 線 CSV 回測",
    # info and stats
    "Supervisor PID": "守護行程PID",
    "Bot PID": "機器人PID",
    "Web page": "網頁",
    "Log directory": "日誌目錄",
    "Database": "資料庫",
    "Restarts": "重啟次數",
    "Mode": "模式",
    "Exchange": "交易所",
    "Symbol": "交易對",
    "Grid": "網格",
    "Uptime": "運行時間",
    "Should run": "應執行",
    "Last beat": "最近心跳",
    "{age} s ago, loop {loops}": "{age} 秒前，迴圈 {loops}",
    "Last exit": "上次結束",
    "code {code}: {cause}; orders left: {orders_left}": (
        "代碼 {code}：{cause}；剩餘訂單：{orders_left}"
    ),
    "yes": "是",
    "no": "否",
    "Price": "價格",
    "Position": "持倉",
    "Total PnL": "總損益",
    "Open orders": "掛單",
    "Fills": "成交",
    "Memory MB": "記憶體MB",
    "CPU %": "CPU %",
    "Source": "來源",
    "page": "網頁",
    "database": "資料庫",
    # daemon_manager
    "{id}: unknown instance": "{id}：未知的實例",
    "warning: {text}": "警告：{text}",
    "{config}: valid": "{config}：設定有效",
    "no instance runs": "沒有執行中的實例",
    "nothing was changed": "未做任何變更",
    "move the grid?": "要移動網格嗎？",
    "start trading live with this?": "確定以此設定開始實盤交易嗎？",
    "no config in config/active is to be started": "config/active 中沒有可啟動的設定",
    "{id}: is not ready ({state}): {error}": "{id}：尚未就緒（{state}）：{error}",
    "{id}: {state}, bot {bot}, port {port} {reason}": (
        "{id}：{state}，機器人 {bot}，埠 {port} {reason}"
    ),
    "{id}: nothing has changed": "{id}：沒有變更",
    "{id}: is running already": "{id}：已在執行中",
    "{id}: it is not retried": "{id}：不會再重試",
    "{id}: it stays supervised (pid {pid})": "{id}：仍由守護行程看管（PID {pid}）",
    "{id}: STOPPED": "{id}：已停止（STOPPED）",
}
