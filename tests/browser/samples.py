"""Two reports to be looked at: outline and text, in Korean and in English."""

KOREAN = (
    """## 서론
- 격차가 지금 문제인 이유
## 현황: 충전기의 분포
## 사업자의 수익 구조
## 전력망의 한계
## 결론과 제언""",
    """# 전기차 충전 인프라의 지역 격차

## 서론

국내에 등록된 전기차는 2024년 말 기준 약 68만 대이며, 같은 해 **12.4%**가 새로 늘었다. 그러나 공용 충전기의 분포는 고르지 않다. \
수도권과 광역시에 설치된 급속 충전기가 전체의 절반을 넘고, 군 지역의 충전기는 3~5개 읍면에 하나꼴이다. **"어디에 사느냐"**가 전기차를 \
살 수 있느냐를 정한다면, 보급 목표는 지역 정책의 문제가 된다.

이 보고서는 격차의 크기를 먼저 확인하고, 그 원인을 설치 비용, 가동률(하루 평균 이용 시간)과 전력망의 세 갈래로 나누어 살펴본다.

## 현황: 충전기의 분포

| 지역 | 등록 대수 | 급속 충전기 | 완속 충전기 | 1기당 차량 | 전년 대비 |
| --- | ---: | ---: | ---: | ---: | ---: |
| 서울 | 88,210대 | 4,218대 | 41,300대 | 1.9대 | +8.1% |
| 경기 | 142,870대 | 7,904대 | 78,122대 | 1.7대 | +11.6% |
| 전남 | 26,450대 | 1,311대 | 6,870대 | 3.2대 | +14.9% |
| 강원 | 21,760대 | 1,602대 | 5,940대 | 2.9대 | +9.3% |

수치는 다음과 같이 읽어야 한다.

- 등록 대수는 차고지 기준이므로 실제 운행 지역과 다를 수 있다.
- 급속 충전기는 50kW 이상을 센다.
  - 이 가운데 200kW 이상은 아직 10%에 못 미친다.
- 고장으로 쓰지 못하는 기기는 10~20% 수준으로 추정된다.

### 도농 사이의 차이

> 충전기가 없어서 차를 사지 않고, 차가 없어서 충전기를 놓지 않는다.

같은 군 안에서도 읍과 면의 차이가 크다. `charger_density` 값이 0인 면이 전체의 31%에 이른다.

## 사업자의 수익 구조

급속 충전기 1기를 놓는 데에는 부지와 수전 설비를 포함해 4천만~6천만 원이 든다. 가동률이 15%를 넘어야 5년 안에 비용을 \
거두어들일 수 있다는 것이 업계의 계산이다. 군 지역의 평균 가동률은 6% 안팎이다.
""",
)

ENGLISH = (
    """## Introduction
- Why the gap matters now
## Where things stand
## How operators earn
## Limits of the grid
## Conclusions""",
    """# Regional gaps in EV charging

## Introduction

Registrations of electric vehicles in Korea reached about 680,000 at the end of 2024, **12.4%** more than a year before. \
Public chargers are spread unevenly: more than half of all rapid chargers stand in the capital region and the large \
cities, while a rural county may have one for every three to five townships. If where people live decides whether they \
can own such a car, the targets for its spread become a matter of regional policy.

This report first establishes how large the gap is, and then looks at three causes: the cost of building, the rate of \
use (hours a day), and the grid.

## Where things stand

| Region | Vehicles | Rapid | Slow | Vehicles per charger | Change |
| --- | ---: | ---: | ---: | ---: | ---: |
| Seoul | 88,210 | 4,218 | 41,300 | 1.9 | +8.1% |
| Gyeonggi | 142,870 | 7,904 | 78,122 | 1.7 | +11.6% |
| South Jeolla | 26,450 | 1,311 | 6,870 | 3.2 | +14.9% |
| Gangwon | 21,760 | 1,602 | 5,940 | 2.9 | +9.3% |

The figures have to be read with care.

- Registrations follow the owner's address, which need not be where the car is driven.
- A rapid charger is one of 50 kW or more.
  - Fewer than a tenth of them have 200 kW.
- Between 10 and 20 per cent are thought to be out of order at any time.

### Town and country

> Nobody buys the car because there is no charger, and nobody builds the charger because there is no car.

Even within one county the difference is large. In 31 per cent of townships `charger_density` is 0.

## How operators earn

To build one rapid charger costs 40 to 60 million won, with the site and the connection. The trade reckons that it has \
to be in use 15 per cent of the time to pay for itself within five years; the average in rural counties is about six.
""",
)
