// The texts about linked answers in Korean.

export default {
  title: "실시간 답변 링크",
  explanation: "링크를 열면 답변을 쓰는 동안과 그 직후에 이 답변을 볼 수 있습니다. 서버에 API 키가 필요하면 여는 사람에게도 키가 있어야 합니다.",
  onlyHere: "{host}은(는) 이 컴퓨터의 주소이므로 다른 기기에서는 링크를 열 수 없습니다.",
  link: "링크",
  qrCode: "링크의 QR 코드",
  guest: "다른 사람이 요청한 답변입니다. 읽기만 할 수 있습니다.",
  gone: "이 답변은 더 이상 없습니다. 링크는 답변을 쓰는 동안과 그 직후에만 열립니다.",
};
